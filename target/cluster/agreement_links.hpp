// The ways to the other members of the agreement: one UDP socket a link, every message on all of them, each message
// taken once.
//
//   message ── number, tag ──┬── link 0 ──► 10.78.0.12 ─┐
//                            └── link 1 ──► 10.78.1.12 ─┴── tag, life, number ── message
//
// A link that is cut costs nothing, and an address that is not there yet is tried again. What damages, repeats, forges
// or reflects frames is counted and gets nothing through.
//
// Threads:   the control loop. Callbacks come from the loop, or from inside drain().
// Ownership: clock is borrowed. close() (or the end of the object) ends all callbacks.
// Limits:    a wake takes a bounded number of frames, so that a flood leaves the loop to others.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/cluster/status.hpp"
#include "target/iscsi/portals.hpp"

namespace mpath::target::cluster {

struct LinkRemote {
  Member member = Member::b;
  Portal address;
  friend bool operator==(const LinkRemote&, const LinkRemote&) = default;
};

struct LinkOptions {
  Portal local;
  std::vector<LinkRemote> remotes;
  friend bool operator==(const LinkOptions&, const LinkOptions&) = default;
};

// The links of `self` from the lists of the configuration: the n-th address of a talks to the n-th of b; the witness's
// are dealt out in turn, so that each link and each address of it is used.
[[nodiscard]] std::vector<LinkOptions> make_links(Member self, std::span<const Portal> a, std::span<const Portal> b,
                                                  std::span<const Portal> witness);

struct AgreementLinksOptions {
  Member self = Member::a;
  std::uint64_t incarnation = 0;
  std::vector<LinkOptions> links;
  std::vector<Key> keys;  // the first is sent with, each is accepted
  Duration deadtime = std::chrono::milliseconds(600);
  // The witness's way: no remotes are configured, and answers go to wherever a member was heard from.
  bool answers_only = false;
};

class AgreementLinks {
 public:
  using Receive = std::function<void(const Message&)>;

  AgreementLinks(boost::asio::io_context& control, Clock& clock, AgreementLinksOptions options, Receive receive,
                 const Log& log);
  ~AgreementLinks();

  // Fails with one line only for what no waiting mends: an address that is not numeric, too many links, no key.
  [[nodiscard]] std::expected<void, std::string> open();
  void close();

  void send(Member to, const Message& message);
  // From here on; the life and its numbers go on.
  void set_keys(std::vector<Key> keys);
  // Takes in what has come and waits in the sockets: before one concludes from silence after having slept.
  void drain();
  // Logs links that fell silent or are heard again. Call now and then.
  void watch();

  [[nodiscard]] std::vector<LinkStatus> status() const;
  // Links whose own address is there.
  [[nodiscard]] std::size_t open_links() const;
  // Where link `index` really listens: port 0 was replaced by what the kernel gave. Port 0 while it is not open.
  [[nodiscard]] Portal listening(std::size_t index) const;
  // Frames that came from no known address and were refused.
  [[nodiscard]] std::uint64_t refused_of_strangers() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // handlers on their way hold on to it weakly
};

}  // namespace mpath::target::cluster
