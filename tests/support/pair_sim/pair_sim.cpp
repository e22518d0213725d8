#include "tests/support/pair_sim/pair_sim.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <set>
#include <utility>

#include "base/log.hpp"
#include "target/replication/replica.hpp"
#include "target/replication/roles.hpp"
#include "target/replication/witness_fsm.hpp"
#include "tests/support/pair_sim/sim_parts.hpp"

namespace mpath::target::replication::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t blocks = 6;
constexpr std::uint64_t nothing = 0;
const std::array<Member, 3> everybody{Member::a, Member::b, Member::witness};

// A client's write, from its birth until nobody can apply it any more.
struct Write {
  std::size_t block = 0;
  std::uint64_t value = nothing;
  bool through = false;    // FUA
  bool answered = false;   // its client knows that it is done
  bool abandoned = false;  // its client has given up: an answer would reach nobody
};
using WritePointer = std::shared_ptr<Write>;

// What a block may hold, seen from outside.
struct History {
  std::set<std::uint64_t> possible{nothing};
  std::vector<std::weak_ptr<Write>> open;             // that may not have ended
  std::vector<std::uint64_t> since_through{nothing};  // what may be left when all power is lost: all since the last FUA
};

class Sim;

// A command of a client at a node.
struct Request : BlockRequest {
  Sim* sim = nullptr;
  Member at = Member::a;
  WritePointer write;  // none: a read
  std::size_t block = 0;
  BlockBytes bytes{};
  iovec part{};
};

struct Machine {
  Member self = Member::a;
  bool up = false;
  TimePoint paused_until = TimePoint::min();
  double rate = 1.0;
  std::uint64_t life = 0;  // another one after each start
  // Durable.
  VoteRecord record;
  bool suspect = false;  // as the boot identifier in the metadata would tell
  SimDisk disk;
  SimMapFile map;
  LuState state;
  // Of this life.
  std::unique_ptr<NodeFsm> fsm;
  std::unique_ptr<WitnessFsm> witness;
  bool persisting = false;
  std::deque<Action> held_back;  // behind a record that is being written
  std::deque<std::function<void()>> asleep;
  struct Copy {
    std::unique_ptr<Life> life;
    std::unique_ptr<LifeClock> clock;
    BufferPool buffers{1 << 16};
    Serving serving;
    std::unique_ptr<SimStore> store;
    std::unique_ptr<SimMapStore> map_store;
    std::unique_ptr<SimStateLog> state_log;
    std::map<BlockRequest*, std::unique_ptr<Request>> requests;
    std::unique_ptr<Roles> roles;
    std::unique_ptr<Replica> replica;
    std::deque<Report> reports;
    std::deque<Orders> orders;
    std::optional<Orders> given;
    LuState state;  // in force
    bool changing_state = false;
    bool dialing = false;
    std::vector<std::pair<std::weak_ptr<SimConnection>, int>> connections;  // with our side
  };
  std::unique_ptr<Copy> copy;
  bool draining = false;
};

class Sim : public SimConnection::Net {
 public:
  explicit Sim(const SimOptions& options) : options_(options), random_(options.seed) {
    for (const Member member : everybody) {
      Machine& machine = at(member);
      machine.self = member;
      machine.rate = 1.0 + (static_cast<double>(roll(2001)) - 1000.0) / 1000.0 * 0.009;  // within the drift of 2 %
      machine.record.decided = {.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};
      machine.disk.cached.resize(blocks);
      machine.disk.durable.resize(blocks);
      DirtyMap empty(shape());
      empty.mark(empty.all());
      for (std::uint64_t extent = 0; extent < empty.all().last; ++extent) empty.clear(extent);
      machine.map.pages.resize(shape().pages());
      for (const auto& page : empty.begin_write()) machine.map.pages[page.index] = page.page;
    }
  }

  ~Sim() override {
    for (Machine& machine : machines_) end_copy(machine);
  }

  SimResult run() {
    for (const Member member : everybody) {
      if (member != Member::witness || options_.witness) start(member);
    }
    for (std::size_t block = 0; block < blocks; ++block) client(block);
    state_client();
    onlooker();
    mischief();
    run_until(begin_ + options_.storm);
    mend();
    // With everything mended one node serves soon, and both hold the same after a while.
    run_until(now_ + seconds(60));
    if (result_.violation.empty()) check_end();
    result_.trace.assign(trace_.begin(), trace_.end());
    return std::move(result_);
  }

 private:
  Machine& at(Member member) { return machines_[static_cast<std::size_t>(member)]; }
  std::uint64_t roll(std::uint64_t sides) override { return random_() % sides; }
  bool chance(unsigned percent) { return roll(100) < percent; }
  [[nodiscard]] double since_begin() const { return std::chrono::duration<double>(now_ - begin_).count(); }
  void note(const std::string& text) {
    trace_.push_back(fmt::format("{:.6f} {}", since_begin(), text));
    if (trace_.size() > 400) trace_.pop_front();
  }
  // The first one is told, and ends the run.
  void violated(const std::string& what) {
    if (result_.violation.empty()) result_.violation = fmt::format("{:.6f} s: {}", since_begin(), what);
  }

  // --- time
  // -----------------------------------------------------------------------------------------------------------
  struct Event {
    TimePoint when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator>(const Event& other) const { return std::tie(when, order) > std::tie(other.when, other.order); }
  };
  void after(Duration delay, std::function<void()> what) override {
    events_.push({now_ + delay, order_++, std::move(what)});
  }
  void run_until(TimePoint end) {
    while (result_.violation.empty() && !events_.empty() && events_.top().when <= end) {
      Event event = events_.top();
      events_.pop();
      now_ = event.when;
      ++result_.events;
      event.what();
      check_always();
    }
    now_ = end;
  }
  [[nodiscard]] TimePoint local(const Machine& machine) const {
    const auto passed = std::chrono::duration<double>(now_ - begin_).count() * machine.rate;
    return begin_ + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(passed));
  }
  // Runs in a machine's life: later when it is paused, never when that life has ended.
  void in(Member member, Duration delay, std::function<void()> what) {
    after(delay, [this, member, life = at(member).life, what = std::move(what)] {
      Machine& machine = at(member);
      if (!machine.up || machine.life != life) return;
      if (now_ < machine.paused_until) {
        machine.asleep.push_back(what);
      } else {
        what();
      }
    });
  }

  // --- links
  // ----------------------------------------------------------------------------------------------------------
  [[nodiscard]] bool cut(Member from, Member to) const override {
    return cut_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
  }
  Duration travel() override { return microseconds(100 + roll(chance(3) ? 150000 : 3000)); }
  void deliver(Member from, Member to, std::function<void()> what) {
    if (from != to && (cut(from, to) || chance(loss_))) return;
    const int copies = from != to && chance(2) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      const Duration delay = from == to ? microseconds(10) : travel();
      after(delay, [this, from, to, what] {
        Machine& machine = at(to);
        if (!machine.up || (from != to && cut(from, to))) return;
        if (now_ < machine.paused_until) {
          machine.asleep.push_back(what);
        } else {
          what();
        }
      });
    }
  }

  // --- a member's life
  // --------------------------------------------------------------------------------------------------
  void start(Member member) {
    Machine& machine = at(member);
    machine.up = true;
    ++machine.life;
    note(fmt::format("{} starts{} record={}", name(member), machine.suspect ? " suspect" : "",
                     format_view(machine.record.decided)));
    if (member == Member::witness) {
      machine.witness = std::make_unique<WitnessFsm>(machine.record, NodeOptions().lease, machine.life, local(machine));
      return;
    }
    NodeOptions node{.self = member, .witness = options_.witness, .on_peer_loss = options_.on_peer_loss};
    const bool admits = machine.suspect && options_.bug != Bug::trust_lost_memory;
    machine.fsm = std::make_unique<NodeFsm>(node, machine.record, admits, machine.life, local(machine));
    start_copy(machine);
    tick(member);
  }

  void stop(Member member, bool power) {
    Machine& machine = at(member);
    if (!machine.up) return;
    note(fmt::format("{} {}", name(member), power ? "loses power" : "is killed"));
    machine.up = false;
    ++machine.life;
    if (machine.copy != nullptr) {
      machine.copy->store->end(power);
      machine.copy->map_store->end(power);
      machine.copy->state_log->end();
      end_copy(machine);
    }
    machine.fsm.reset();
    machine.witness.reset();
    machine.persisting = false;
    machine.held_back.clear();
    machine.asleep.clear();
    machine.draining = false;
    machine.paused_until = TimePoint::min();
    ++(power ? result_.power_cuts : result_.kills);
    // As if answers had left before the record was durable.
    if (options_.bug == Bug::forget_votes) {
      machine.record.promised = {};
      machine.record.accepted.reset();
    }
    if (!power) return;
    if (member == Member::witness) return;
    // As the metadata would say: it does not know whether anything was in the cache.
    machine.suspect = true;
    total_loss();
  }

  // Power was lost on every node that held everything: whatever was not synchronised may be gone, as on any disk.
  void total_loss() { total_loss(view_in_truth()); }
  void total_loss(const View& view) {
    for (const Member member : {Member::a, Member::b}) {
      if (view.in_sync.has(member) && !at(member).suspect) return;
    }
    for (std::size_t block = 0; block < blocks; ++block) {
      History& history = histories_[block];
      history.possible.insert(history.since_through.begin(), history.since_through.end());
    }
    note("nobody holds everything any more");
  }

  void pause(Member member, Duration how_long) {
    Machine& machine = at(member);
    if (!machine.up || now_ < machine.paused_until) return;
    note(fmt::format("{} pauses for {} ms", name(member), how_long / milliseconds(1)));
    machine.paused_until = now_ + how_long;
    after(how_long, [this, member, life = machine.life] {
      Machine& woken = at(member);
      if (!woken.up || woken.life != life) return;
      // What came meanwhile is found in any order.
      std::deque<std::function<void()>> found = std::move(woken.asleep);
      woken.asleep.clear();
      std::shuffle(found.begin(), found.end(), random_);
      for (const auto& what : found) {
        if (woken.up && woken.life == life) what();
      }
    });
  }

  void tick(Member member) {
    Machine& machine = at(member);
    machine.fsm->on_time(local(machine));
    follow(member);
    const Duration wait =
        std::clamp<Duration>(machine.fsm->wake_at() - local(machine), milliseconds(1), milliseconds(50));
    in(member, wait, [this, member] { tick(member); });
  }

  // Does what the logic wants, in order; what rests on a record waits until that is durable.
  void follow(Member member) {
    Machine& machine = at(member);
    if (machine.fsm) settle(machine);
    auto actions = machine.fsm ? machine.fsm->take_actions() : machine.witness->take_actions();
    for (Action& action : actions) {
      auto* const send = std::get_if<Send>(&action);
      const bool free = send != nullptr && !send->after_persist;
      if (!free && machine.persisting) {
        machine.held_back.push_back(std::move(action));
      } else {
        act(member, std::move(action));
      }
    }
  }

  void act(Member member, Action action) {
    Machine& machine = at(member);
    if (auto* const send = std::get_if<Send>(&action)) {
      deliver(member, send->to, [this, to = send->to, message = send->message] {
        Machine& receiver = at(to);
        if (receiver.fsm) receiver.fsm->on_message(message, local(receiver));
        if (receiver.witness) receiver.witness->on_message(message, local(receiver));
        follow(to);
      });
    } else if (auto* const persist = std::get_if<Persist>(&action)) {
      machine.persisting = true;
      const auto& vote = persist->record.accepted;
      if (vote && vote->ballot.proposer == member && !machine.suspect)
        proposed_soundly_.insert(format_view(vote->view));
      in(member, microseconds(200 + roll(chance(5) ? 60000 : 2000)), [this, member, record = persist->record] {
        Machine& now_durable = at(member);
        // Some lives end just before a record is written, or when it was and nobody has heard of it.
        const auto end = mended_ ? 99 : roll(100);
        if (end == 0) return stop(member, chance(50));
        now_durable.record = record;
        if (end == 1) return stop(member, chance(50));
        now_durable.persisting = false;
        std::deque<Action> next = std::move(now_durable.held_back);
        now_durable.held_back.clear();
        for (Action& each : next) {
          if (now_durable.persisting) {
            now_durable.held_back.push_back(std::move(each));
          } else {
            act(member, std::move(each));
          }
        }
      });
    } else {
      in(member, milliseconds(20 + roll(2000)), [this, member] {
        // A fence handler that says yes has switched the peer off.
        const Member peer = peer_of(member);
        const bool works = chance(80);
        if (works) {
          if (at(peer).up) stop(peer, true);
          fenced_ = peer;
          // The administrator switches it on again.
          after(seconds(4), [this, peer] {
            if (!at(peer).up && mended_) start(peer);
          });
        }
        at(member).fsm->on_fenced(works, local(at(member)));
        follow(member);
      });
    }
  }

  // --- the copies: what the shell of a daemon does
  // ------------------------------------------------------------------------------------------------------------------
  class LifeOf final : public Life {
   public:
    LifeOf(Sim& sim, Member member) : sim_(sim), member_(member) {}
    void in(Duration delay, std::function<void()> what) override { sim_.in(member_, delay, std::move(what)); }
    [[nodiscard]] TimePoint local_now() const override { return sim_.local(sim_.at(member_)); }
    [[nodiscard]] Duration from_local(Duration duration) const override {
      return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(duration) / sim_.at(member_).rate);
    }
    [[nodiscard]] std::uint64_t roll(std::uint64_t sides) override { return sim_.roll(sides); }
    [[nodiscard]] std::shared_ptr<void> holding(std::uint64_t value) override {
      const auto place = sim_.writes_.find(value);
      return place == sim_.writes_.end() ? nullptr : place->second.lock();
    }

   private:
    Sim& sim_;
    Member member_;
  };

  static DirtyMap::Shape shape() { return {.unit = {}, .size_bytes = blocks * block_bytes, .extent_bytes = 1024}; }

  void start_copy(Machine& machine) {
    machine.copy = std::make_unique<Machine::Copy>();
    Machine::Copy& copy = *machine.copy;
    const Member member = machine.self;
    machine.disk.fails = false;  // somebody has replaced the cable
    copy.life = std::make_unique<LifeOf>(*this, member);
    copy.clock = std::make_unique<LifeClock>(*copy.life);
    copy.store = std::make_unique<SimStore>(*copy.life, machine.disk);
    copy.map_store = std::make_unique<SimMapStore>(*copy.life, machine.map);
    copy.state_log = std::make_unique<SimStateLog>(*copy.life, machine.state);
    copy.state = machine.state;
    copy.roles = std::make_unique<Roles>(*machine.fsm, member, 1, milliseconds(300));
    DirtyMap map(shape());
    for (std::uint32_t page = 0; page < machine.map.pages.size(); ++page) {
      if (options_.bug != Bug::lose_dirty_map && !map.load(page, machine.map.pages[page])) violated("a map of another");
    }
    const ReplicaOptions options{.fill_chunk_bytes = 1024,
                                 .stream_grace = milliseconds(300),
                                 .peer_timeout = seconds(2),
                                 .clean_interval = milliseconds(300),
                                 .failed_pause = seconds(2)};
    copy.replica =
        std::make_unique<Replica>(Replica::Seams{.local = *copy.store,
                                                 .map_store = *copy.map_store,
                                                 .local_state = *copy.state_log,
                                                 .serving = copy.serving,
                                                 .clock = *copy.clock,
                                                 .buffers = copy.buffers},
                                  std::move(map), machine.state, options, Log(output_, std::string(name(member))));
    copy.replica->on_report = [this, member](const Report& report) {
      at(member).copy->reports.push_back(report);
      in(member, microseconds(10 + roll(100)), [this, member] {
        Machine& owner = at(member);
        const Report next = owner.copy->reports.front();
        owner.copy->reports.pop_front();
        owner.copy->roles->on_report(0, next, local(owner));
        follow(member);
      });
    };
    copy.replica->on_state = [this, member](const LuState& state) { at(member).copy->state = state; };
  }

  static void end_copy(Machine& machine) {
    if (machine.copy == nullptr) return;
    Machine::Copy& copy = *machine.copy;
    for (const auto& [weak, side] : copy.connections) {
      if (const auto connection = weak.lock()) SimConnection::leave(connection, side);
    }
    copy.replica.reset();
    machine.copy.reset();
  }

  [[nodiscard]] bool serves(Machine& machine) const {
    return machine.copy != nullptr && machine.copy->serving.may_answer(local(machine));
  }

  // After each event of the agreement.
  void settle(Machine& machine) {
    const Member member = machine.self;
    Machine::Copy& copy = *machine.copy;
    const TimePoint now = local(machine);
    copy.roles->update(now);
    if (machine.draining && copy.requests.empty() && !copy.changing_state) {
      machine.draining = false;
      if (machine.fsm->hand_over(now)) note(fmt::format("{} hands over", name(member)));
    }
    const bool blind = options_.bug == Bug::ignore_lease && machine.fsm->primary() && copy.roles->ready();
    copy.serving.set_until(blind ? never : copy.roles->serving_until(now));
    Orders orders = copy.roles->orders(0);
    if (options_.bug == Bug::skip_outdating && peer_unheard(machine)) orders.peer_needed = false;
    if (copy.given != orders) {
      copy.given = orders;
      copy.orders.push_back(orders);
      in(member, microseconds(10 + roll(200)), [this, member] {
        Machine& owner = at(member);
        const Orders next = owner.copy->orders.front();
        owner.copy->orders.pop_front();
        owner.copy->replica->set_orders(next);
      });
    }
    const View& view = machine.fsm->view();
    highest_ = std::max(highest_, view, [](const View& left, const View& right) { return left.number < right.number; });
    learned(view);
    if (!machine.fsm->primary()) machine.draining = false;
    if (machine.suspect != machine.fsm->suspect()) {
      machine.suspect = machine.fsm->suspect() || (machine.suspect && options_.bug == Bug::trust_lost_memory);
      if (machine.suspect) total_loss();
    }
    if (copy.roles->report(0).wants_stream && !copy.dialing) dial(machine);
  }

  // The leader connects; the follower looks whether it may, ends what was there before, and both have a stream.
  void dial(Machine& machine) {
    const Member member = machine.self;
    const Member peer = peer_of(member);
    Machine::Copy& copy = *machine.copy;
    copy.dialing = true;
    in(member, milliseconds(300), [this, member] { at(member).copy->dialing = false; });
    deliver(member, peer,
            [this, member, peer, view = machine.fsm->view(), term = copy.roles->orders(0).term, life = machine.life] {
              Machine& receiver = at(peer);
              if (receiver.copy == nullptr) return;
              receiver.fsm->hear_of(view, local(receiver));
              follow(peer);
              if (!receiver.fsm->takes_writes_of(member, view.number)) return;
              const std::uint64_t own_term = receiver.copy->roles->orders(0).term;
              receiver.copy->replica->prepare_to_follow(
                  own_term, [this, member, peer, own_term, term, life, peer_life = receiver.life](bool ok) {
                    if (ok)
                      in(peer, microseconds(1), [=, this] { connect(member, life, term, peer, peer_life, own_term); });
                  });
            });
  }

  void connect(Member member, std::uint64_t life, std::uint64_t term, Member peer, std::uint64_t peer_life,
               std::uint64_t own_term) {
    Machine& receiver = at(peer);
    if (at(member).life != life || at(member).copy == nullptr) return;
    const auto connection = std::make_shared<SimConnection>(*this);
    take_end(receiver, connection, 1);
    receiver.copy->replica->attach(SimConnection::stream(connection, 1), own_term, life);
    take_end(at(member), connection, 0);
    in(member, travel(), [this, member, connection, term, peer_life] {
      at(member).copy->replica->attach(stream_to_peer(connection), term, peer_life);
    });
  }
  void take_end(Machine& machine, const std::shared_ptr<SimConnection>& connection, int side) {
    Machine::Copy& copy = *machine.copy;
    SimConnection::End& end = connection->end(side);
    end.member = machine.self;
    end.life = copy.life.get();
    end.buffers = &copy.buffers;
    std::erase_if(copy.connections, [](const auto& known) { return known.first.expired(); });
    copy.connections.emplace_back(connection, side);
  }
  std::unique_ptr<PeerStream> stream_to_peer(const std::shared_ptr<SimConnection>& connection) {
    auto stream = SimConnection::stream(connection, 0);
    if (options_.bug == Bug::ack_before_peer) return std::make_unique<HastyStream>(std::move(stream), connection);
    return stream;
  }

  // Answers writes by itself, at once.
  class HastyStream final : public PeerStream {
   public:
    HastyStream(std::unique_ptr<PeerStream> stream, std::shared_ptr<SimConnection> connection)
        : stream_(std::move(stream)), connection_(std::move(connection)) {}
    void start(Receiver& receiver) override { stream_->start(receiver); }
    void send(const StreamHead& head, std::span<const iovec> body) override {
      stream_->send(head, body);
      if (head.op != StreamOp::write || head.fill || connection_->end(0).life == nullptr) return;
      connection_->end(0).life->in(microseconds(1), [connection = connection_, sequence = head.sequence] {
        SimConnection::End& end = connection->end(0);
        if (end.receiver != nullptr) end.receiver->on_message({.op = StreamOp::ack, .sequence = sequence}, {});
      });
    }
    void close() override { stream_->close(); }

   private:
    std::unique_ptr<PeerStream> stream_;
    std::shared_ptr<SimConnection> connection_;
  };

  [[nodiscard]] bool peer_unheard(const Machine& machine) const {
    const Machine& peer = machines_[static_cast<std::size_t>(peer_of(machine.self))];
    return !peer.up || cut(peer.self, machine.self) || cut(machine.self, peer.self);
  }

  // A client's command at a node.
  void command(Member member, std::size_t block, const WritePointer& write) {
    Machine& machine = at(member);
    if (machine.copy == nullptr || machine.draining || !serves(machine)) return;
    auto made = std::make_unique<Request>();
    Request& request = *made;
    request.sim = this;
    request.at = member;
    request.write = write;
    request.block = block;
    request.op = write != nullptr ? BlockOp::write : BlockOp::read;
    request.fua = write != nullptr && write->through;
    request.offset = block * block_bytes;
    request.length = block_bytes;
    if (write != nullptr) request.bytes = block_of(write->value);
    request.part = {.iov_base = request.bytes.data(), .iov_len = block_bytes};
    request.data = {&request.part, 1};
    request.done = [](BlockRequest& ended) noexcept {
      Request& own = static_cast<Request&>(ended);
      own.sim->answered(own);
    };
    machine.copy->requests.emplace(&request, std::move(made));
    if (options_.bug == Bug::dirty_reads && write == nullptr) {
      machine.copy->store->submit(request);
    } else {
      machine.copy->replica->submit(request);
    }
  }

  void answered(Request& request) {
    const auto own = at(request.at).copy->requests.extract(&request);
    if (request.status != BlockStatus::ok) return;
    if (request.write == nullptr) return seen(request.block, value_of(request.bytes), request.at);
    Write& write = *request.write;
    if (write.answered || write.abandoned) return;
    write.answered = true;
    ++result_.writes_acknowledged;
    acknowledged(write);
  }

  // What a read has returned.
  void seen(std::size_t block, std::uint64_t value, Member by) {
    History& history = histories_[block];
    if (!history.possible.contains(value)) {
      violated(fmt::format("{} reads {} from block {}, which can only hold {}", name(by), value, block,
                           fmt::join(history.possible, " ")));
    }
    ++result_.reads_answered;
    history.possible = coming(history);
    history.possible.insert(value);
    std::erase_if(history.open, [](const auto& open) { return open.expired(); });
  }

  // --- a client of the SCSI state: it only ever grows
  // ------------------------------------------------------------------------------------------------------------------
  void state_client() {
    after(milliseconds(5 + roll(200)), [this] {
      if (finished_) return;
      const Member to = chance(50) ? Member::a : Member::b;
      if (at(to).up && at(to).copy != nullptr) {
        in(to, microseconds(50), [this, to] { use_state(to); });
      }
      state_client();
    });
  }
  void use_state(Member to) {
    Machine& machine = at(to);
    if (!serves(machine) || machine.draining) return;
    Machine::Copy& copy = *machine.copy;
    const std::uint32_t known = copy.state.reservations.generation;
    if (known < generation_seen_) {
      violated(fmt::format("{} has the state {}, after {} was acknowledged", name(to), known, generation_seen_));
    }
    generation_seen_ = known;
    if (copy.changing_state || chance(50)) return;
    copy.changing_state = true;
    LuState next = copy.state;
    next.reservations.generation = ++last_generation_;
    copy.replica->commit(next, [this, to, next](error_code error) {
      Machine::Copy& owner = *at(to).copy;
      owner.changing_state = false;
      if (error) return;
      owner.state = next;
      generation_seen_ = std::max(generation_seen_, next.reservations.generation);
      ++result_.states_acknowledged;
    });
  }

  // --- clients: one writes a block at a time, and reads what it left
  // ------------------------------------------------------ Writes without an answer may still come while somebody has
  // them in hand.
  [[nodiscard]] static std::set<std::uint64_t> coming(const History& history) {
    std::set<std::uint64_t> values;
    for (const auto& open : history.open) {
      if (const auto write = open.lock(); write != nullptr && !write->answered) values.insert(write->value);
    }
    return values;
  }
  void acknowledged(const Write& write) {
    History& history = histories_[write.block];
    history.possible = coming(history);
    history.possible.insert(write.value);
    if (write.through) {
      history.since_through = {write.value};
    } else {
      history.since_through.push_back(write.value);
    }
  }

  void client(std::size_t block) {
    // Now and then a block is left alone for a while.
    const auto idle = chance(2) ? milliseconds(roll(4000)) : microseconds(500 + roll(40000));
    after(idle, [this, block] {
      if (finished_) return;
      const Member to = chance(50) ? Member::a : Member::b;
      // Like an initiator that fences: no write while an earlier one may still come.
      if (chance(60) && coming(histories_[block]).empty()) {
        write(block, to);
      } else {
        read(block, to);
      }
    });
  }

  void write(std::size_t block, Member to) {
    const auto write = std::make_shared<Write>();
    write->block = block;
    write->value = ++last_value_;
    write->through = chance(40);
    const std::weak_ptr<Write> watched = write;
    writes_[write->value] = watched;
    histories_[block].possible.insert(write->value);
    histories_[block].open.push_back(watched);
    histories_[block].since_through.push_back(write->value);
    if (at(to).up) in(to, microseconds(50), [this, to, block, write] { command(to, block, write); });
    wait_for(block, watched, 0);
  }
  // The client waits for its answer, and gives up when nobody can answer any more or after two seconds.
  void wait_for(std::size_t block, const std::weak_ptr<Write>& watched, int rounds) {
    after(milliseconds(5), [this, block, watched, rounds] {
      const auto write = watched.lock();
      if (write == nullptr || write->answered || rounds == 400) {
        if (write != nullptr && !write->answered) write->abandoned = true;
        client(block);
        return;
      }
      wait_for(block, watched, rounds + 1);
    });
  }

  void read(std::size_t block, Member to) {
    if (at(to).up) in(to, microseconds(50), [this, to, block] { command(to, block, nullptr); });
    after(milliseconds(60), [this, block] { client(block); });
  }

  // Reads what others are writing.
  void onlooker() {
    after(milliseconds(1 + roll(30)), [this] {
      if (finished_) return;
      const Member to = chance(50) ? Member::a : Member::b;
      const std::size_t block = roll(blocks);
      if (at(to).up) in(to, microseconds(50), [this, to, block] { command(to, block, nullptr); });
      onlooker();
    });
  }

  // --- what goes wrong
  // ----------------------------------------------------------------------------------------------------
  void mischief() {
    after(milliseconds(50 + roll(1500)), [this] {
      if (mended_) return;
      const Member victim = everybody[roll(options_.witness ? 3 : 2)];
      const Member other = everybody[roll(options_.witness ? 3 : 2)];
      switch (roll(11)) {
        case 0:
          stop(victim, true);
          break;
        case 9:
          if (chance(30) && at(victim).copy != nullptr && !at(victim).disk.fails) {
            note(fmt::format("the disk of {} fails", name(victim)));
            at(victim).disk.fails = true;
            ++result_.failed_disks;
          }
          break;
        case 1:
        case 2:
          stop(victim, false);
          break;
        case 3:
          pause(victim, milliseconds(roll(3000)));
          break;
        case 4:
          set_cut(victim, other, true);
          break;
        case 5:
          set_cut(victim, other, true);
          set_cut(other, victim, true);
          break;
        case 6:
          for (auto& row : cut_) row.fill(false);
          loss_ = chance(50) ? 0 : static_cast<unsigned>(roll(30));
          break;
        case 7:
        case 8:
          if (!at(victim).up && fenced_ != victim) start(victim);
          if (!at(other).up && fenced_ != other) start(other);
          break;
        default:
          if (at(victim).up && at(victim).fsm && at(victim).fsm->primary()) at(victim).draining = true;
          break;
      }
      if (chance(20)) fenced_.reset();  // the administrator has switched it on again
      // Power for the most part comes back.
      for (const Member member : everybody) {
        if (!at(member).up && chance(50) && fenced_ != member && (member != Member::witness || options_.witness))
          start(member);
      }
      mischief();
    });
  }
  void set_cut(Member from, Member to, bool cut) {
    if (from == to) return;
    note(fmt::format("cut {} -> {}", name(from), name(to)));
    cut_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)] = cut;
    // A second failure while the first one is not noticed yet.
    if (holds_data(from) && holds_data(to) && chance(25)) {
      after(milliseconds(roll(700)), [this, victim = chance(50) ? from : to, power = chance(50)] {
        if (!mended_) stop(victim, power);
      });
    }
  }
  void mend() {
    mended_ = true;
    note("mended");
    loss_ = 0;
    for (auto& row : cut_) row.fill(false);
    for (const Member member : everybody) {
      if (at(member).disk.fails) stop(member, false);
      if (!at(member).up && (member != Member::witness || options_.witness)) start(member);
    }
  }

  // --- invariants
  // ---------------------------------------------------------------------------------------------------------
  [[nodiscard]] View view_now() const { return highest_; }
  // What a majority has voted for is decided, before anybody knows.
  [[nodiscard]] View view_in_truth() const {
    for (const Machine& one : machines_) {
      for (const Machine& other : machines_) {
        const auto& vote = one.record.accepted;
        if (&one != &other && vote && vote == other.record.accepted && vote->view.number == highest_.number + 1)
          return vote->view;
      }
    }
    return highest_;
  }

  void learned(const View& view) {
    if (view.number == 0) return;
    const auto [place, fresh] = decided_.emplace(view.number, view);
    if (fresh) {
      ++result_.views;
      const auto before = decided_.find(view.number - 1);
      if (before != decided_.end() && !may_follow(before->second, view)) {
        violated(fmt::format("{} follows {}", format_view(view), format_view(before->second)));
      }
      if (before != decided_.end() && before->second.primary != view.primary) ++result_.takeovers;
      note("decided " + format_view(view));
      // Whoever was about to be the only holder may lose power before anybody knows that it is.
      if (proposed_soundly_.contains(format_view(view))) total_loss(view);
      return;
    }
    if (place->second != view) {
      violated(fmt::format("view {} is both {} and {}", view.number, format_view(place->second), format_view(view)));
    }
  }

  void check_always() {
    int serving = 0;
    for (const Member member : {Member::a, Member::b}) {
      Machine& machine = at(member);
      if (machine.up && machine.fsm && now_ >= machine.paused_until && serves(machine)) ++serving;
    }
    if (serving > 1) violated("two nodes serve");
  }

  void check_end() {
    finished_ = true;
    run_until(now_ + seconds(5));
    int serving = 0;
    for (const Member member : {Member::a, Member::b}) {
      Machine& machine = at(member);
      if (!machine.fsm) continue;
      if (serves(machine)) ++serving;
      note(fmt::format("{} at {} waits for: {}", name(member), format_view(machine.fsm->view()),
                       machine.fsm->waits_for(local(machine))));
    }
    if (serving != 1) violated(fmt::format("{} nodes serve after everything was mended", serving));
    if (view_now().in_sync.size() != 2) violated("the pair is not whole after everything was mended");
    for (std::size_t block = 0; block < blocks; ++block) {
      if (at(Member::a).disk.cached[block] != at(Member::b).disk.cached[block])
        violated(fmt::format("block {} differs: {} and {}", block, value_of(at(Member::a).disk.cached[block]),
                             value_of(at(Member::b).disk.cached[block])));
    }
    if (at(Member::a).copy->state != at(Member::b).copy->state) violated("the SCSI states differ");
  }

  struct Notes final : LogSink {
    explicit Notes(Sim& owner) : sim(owner) {}
    void write(LogLevel, std::string_view line) noexcept override { sim.note(std::string(line)); }
    Sim& sim;
  };

  SimOptions options_;
  Notes notes_{*this};
  LogOutput output_{notes_};
  std::mt19937_64 random_;
  TimePoint begin_{std::chrono::hours(1)};
  TimePoint now_ = begin_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  std::array<Machine, 3> machines_;
  std::array<std::array<bool, 3>, 3> cut_{};
  unsigned loss_ = 2;
  bool mended_ = false;
  bool finished_ = false;
  std::optional<Member> fenced_;
  std::uint64_t last_value_ = 0;
  std::array<History, blocks> histories_;
  std::map<std::uint64_t, std::weak_ptr<Write>> writes_;  // by value
  std::uint32_t last_generation_ = 0, generation_seen_ = 0;
  std::map<std::uint64_t, View> decided_;
  std::set<std::string> proposed_soundly_;
  View highest_{.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  std::deque<std::string> trace_;
  SimResult result_;
};

}  // namespace

const char* name(Bug bug) {
  switch (bug) {
    case Bug::none:
      return "none";
    case Bug::ack_before_peer:
      return "ack_before_peer";
    case Bug::skip_outdating:
      return "skip_outdating";
    case Bug::ignore_lease:
      return "ignore_lease";
    case Bug::forget_votes:
      return "forget_votes";
    case Bug::trust_lost_memory:
      return "trust_lost_memory";
    case Bug::lose_dirty_map:
      return "lose_dirty_map";
    case Bug::dirty_reads:
      return "dirty_reads";
  }
  return "?";
}

SimResult simulate(const SimOptions& options) {
  return Sim(options).run();
}

}  // namespace mpath::target::replication::test
