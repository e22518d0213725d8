// The inside of Pair, for its own files: pair.cpp (life, and what follows from the agreement), pair_streams.cpp,
// pair_handover.cpp, pair_admin.cpp, pair_status.cpp.
#pragma once

#include <boost/asio/post.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/sleep.hpp"
#include "base/task_group.hpp"
#include "ifaces/address_reach.hpp"
#include "target/cluster/agreement.hpp"
#include "target/cluster/chronicle.hpp"
#include "target/cluster/cluster_key.hpp"
#include "target/cluster/decision_log.hpp"
#include "target/cluster/failback.hpp"
#include "target/cluster/pair.hpp"
#include "target/replication/bonded_stream.hpp"
#include "target/replication/roles.hpp"
#include "target/replication/stream_dialer.hpp"
#include "target/replication/stream_listener.hpp"

namespace mpath::target::cluster {

struct Pair::Impl : std::enable_shared_from_this<Pair::Impl> {
  Impl(boost::asio::io_context& loop, Clock& time, boost::asio::thread_pool& threads, ClusterConfig given,
       std::filesystem::path place, VirtualService::Doors given_doors, std::vector<std::string> service,
       const Log& about)
      : control(loop),
        clock(time),
        pool(threads),
        config(std::move(given)),
        directory(std::move(place)),
        log(about.about("cluster " + config.name)),
        self(config.self),
        peer(peer_of(self)),
        decisions(directory / "decisions"),
        address(loop.get_executor(), time, config.virtual_ips, std::move(given_doors), log),
        reach(loop, time,
              {.addresses = std::move(service),
               .on_change =
                   [this](bool reachable) {
                     if (!reachable) leave_service();
                   }}),
        tasks(loop.get_executor()) {}

  // The stream of a unit over several links, while there is one.
  struct Bonded {
    std::weak_ptr<replication::BondedStream> stream;  // the copy's; to be locked on its shard only
    std::uint64_t id = 0;                             // Hello::stream; 0: there was none yet
    std::uint64_t peer_life = 0;
    bool dialled_here = false;
    replication::Bond::Links joining = 0;
    std::array<TimePoint, replication::stream_links_max> join_at{};  // not before
    replication::BondCounters counters;                              // none up: it has ended
  };

  // One replicated unit.
  struct Copy {
    PairUnit unit;
    replication::DirtyMap::Shape shape;
    std::optional<replication::Orders> given;
    bool dialing = false;
    bool held_apart = false;  // `disconnect` was said
    std::uint64_t took_over_term = 0, taking_over_term = 0;
    std::uint64_t stood_by_term = 0;
    std::optional<ClusterAccess> access;
    replication::ReplicaCounters counters;
    bool polling = false;
    double rate = 0;
    std::uint64_t filled_before = 0;
    TimePoint polled_at;
    std::string link;  // trouble of the last dialling
    Bonded bonded;

    [[nodiscard]] bool open() const { return unit.replica != nullptr; }
  };

  boost::asio::io_context& control;
  Clock& clock;
  boost::asio::thread_pool& pool;
  ClusterConfig config;
  std::filesystem::path directory;
  Log log;
  Member self, peer;
  Serving serving;
  ClusterKeys keys;
  DecisionLog decisions;
  VirtualService address;
  AddressReach reach;
  TaskGroup tasks;
  std::unique_ptr<Agreement> agreement;
  std::unique_ptr<replication::Roles> roles;
  std::unique_ptr<replication::StreamListener> listener;
  std::unique_ptr<replication::StreamDialer> dialer;
  std::vector<std::unique_ptr<Copy>> copies;
  std::unique_ptr<Alarm> poll;
  Chronicle chronicle{config};
  Failback failback{config};
  bool serves = false;
  TimePoint lapsed_at = never;
  TimePoint verify_at = never;
  std::unique_ptr<Alarm> lapse;
  std::unique_ptr<Alarm> unanswered;
  std::function<boost::asio::awaitable<std::size_t>(const char*)> drop_initiators;
  bool address_wanted = false, address_moving = false;
  bool handing_over = false;
  bool peer_asked = false;  // for a hand-over that was tried
  bool left_hung_medium = false;
  bool putting_down = false;  // it is noted that nothing is in hand any more
  bool updating = false;
  bool leaving = false;   // nothing is served any more
  bool stopping = false;  // ... and nothing else is done

  [[nodiscard]] bool takes_part() const { return agreement != nullptr && agreement->has_fsm() && roles != nullptr; }

  // Runs on the copy's shard, with its unit, which lives until then; not if the copy could not be opened.
  template <typename Function>
  void there(Copy& copy, Function function) {
    if (!copy.open()) return;
    auto run = [unit = copy.unit, function = std::move(function)] { function(unit); };
    copy.unit.shard->post(std::move(run));
  }

  // ... for each of some copies.
  template <typename Copies, typename Function>
  void everywhere(const Copies& some, const Function& function) {
    for (const auto& copy : some) there(*copy, function);
  }

  // Runs here, if we are still there.
  template <typename Function>
  auto back(Function function) {
    return [weak = weak_from_this(), &loop = control, function = std::move(function)](auto... values) {
      auto run = [weak, function, values...] {
        if (const auto alive = weak.lock()) function(*alive, values...);
      };
      boost::asio::post(loop, std::move(run));
    };
  }

  // Whether it was not so in time.
  template <typename Condition>
  boost::asio::awaitable<bool> until(Duration most, Condition condition) {
    const TimePoint end = clock.now() + most;
    while (!condition()) {
      if (clock.now() >= end) co_return true;
      const bool cancelled = co_await sleep_for(clock, std::chrono::milliseconds(2));
      if (cancelled) co_return true;
    }
    co_return false;
  }

  [[nodiscard]] static std::unexpected<std::string> not_joined() {
    return std::unexpected(std::string("this node has not joined the pair"));
  }

  // ---- pair.cpp
  void take_units(std::vector<PairUnit> units);
  void begin();
  // What became different, for the journal and the decision log.
  void tell();
  void on_report(std::size_t index, const replication::Report& report);
  // After each event: orders, lease, access states, virtual IP, streams.
  void update();
  boost::asio::awaitable<void> put_down();
  // `serves` is what is shown: a lapse between two views is not.
  void note_service(bool may_answer);
  [[nodiscard]] std::size_t index_of(const Copy& copy) const;
  void follow(std::size_t index);
  // What initiators are told of the port groups of both nodes.
  void show_access(Copy& copy);
  void move_address();
  boost::asio::awaitable<void> move();

  // ---- pair_streams.cpp
  [[nodiscard]] Hello hello_of(const Copy& copy) const;
  // Those first on which the peer is heard.
  [[nodiscard]] std::vector<replication::StreamLink> stream_links() const;
  boost::asio::awaitable<void> dial(std::size_t index);
  // A new stream that begins with this connection.
  [[nodiscard]] std::shared_ptr<replication::BondedStream> bond(std::size_t index, std::uint64_t id,
                                                                std::uint64_t peer_life, bool dialled_here);
  void join_links(std::size_t index);
  boost::asio::awaitable<void> join(std::size_t index, replication::StreamLink link);
  void take_counters(std::size_t index, std::uint64_t id, const replication::BondCounters& counters);
  boost::asio::awaitable<replication::Admission> admit(const Hello& hello);

  // ---- pair_handover.cpp
  boost::asio::awaitable<Done> hand_over(std::string why);
  // The same, without somebody who waits for its end.
  void hand_over_later(std::string why);
  // The other node serves and is asked to hand over to this one.
  boost::asio::awaitable<Done> ask_to_serve();
  // ... and it asks us.
  void heed_peer();
  // The other node may be reached where this one is not. Said once for each loss: two nodes that nobody reaches do not
  // hand the role to and fro.
  void leave_service();
  // The lease has ended, and the agreement cannot say who leads: what is under way can neither be answered nor ended
  // here, and would hold its initiators until their longest timeout. Those with another path find the node that leads.
  void send_away();
  void leave_hung_medium();
  void drop_all(const char* why);

  // ---- pair_admin.cpp
  [[nodiscard]] boost::asio::awaitable<Done> enter(VoteRecord record, bool force);
  void verify(Copy& copy, bool repair);
  // verify_interval: counted from when this node began to serve both.
  void verify_now_and_then();
  void poll_copies();
  [[nodiscard]] std::expected<std::vector<Copy*>, std::string> find(const UnitNames& names) const;

  // ---- pair_status.cpp
  [[nodiscard]] ClusterStatus status();
  void show_links(const Copy& copy, CopyStatus& shown) const;
};

}  // namespace mpath::target::cluster
