// All sessions of the target: who is logged in where, and the words administrators have for them.
//
// Threads:      the control thread; each session lives on a shard and is reached by posts.
// Spread:       the first session of a target gets the shard of its units, the next ones the shards after it in turn.
// Cancellation: close() logs initiators out and then drops what is left.
#pragma once

#include <chrono>
#include <span>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/iscsi/ip_address.hpp"
#include "target/iscsi/session_registry.hpp"

namespace mpath {
class Shard;
}

namespace mpath::target {

struct ConnectionStatus {
  std::uint16_t cid = 0;
  std::string remote;
  std::string local;
  bool header_digest = false;
  bool data_digest = false;
};
struct SessionStatus {
  std::uint32_t sid = 0;  // ours, for administrators: 1, 2, 3 ... never used twice
  std::uint16_t tsih = 0;
  bool discovery = false;
  std::string target;
  std::uint16_t portal_group = 0;
  std::string initiator_name, initiator_alias, user;
  iscsi::Isid isid{};
  std::vector<ConnectionStatus> connections;
  iscsi::Parameters parameters;
  unsigned shard = 0;
  std::uint64_t commands = 0, data_in_bytes = 0, data_out_bytes = 0, digest_errors = 0, protocol_errors = 0;
  std::uint64_t receives = 0, sends = 0, wakes = 0;  // system calls for data, and how often the loop called us
};

class Sessions final : public SessionRegistry {
 public:
  Sessions(boost::asio::io_context& control, std::span<Shard* const> shards, const Log& log);
  ~Sessions() override;

  [[nodiscard]] boost::asio::awaitable<std::expected<std::unique_ptr<Seat>, iscsi::LoginStatus>> admit(
      const Admission& admission) override;
  void establish(std::unique_ptr<Seat> seat, Established connection) override;
  // Discovery sessions answer SendTargets from here.
  void set_targets(std::shared_ptr<const TargetsView> targets);

  // The picture of a target changed: its sessions attach to new units, leave those that are gone (ended when this
  // returns), and hear of it by unit attention. A target that is gone loses its sessions.
  [[nodiscard]] boost::asio::awaitable<void> update(std::shared_ptr<const TargetsView> targets);

  [[nodiscard]] boost::asio::awaitable<std::vector<SessionStatus>> list() const;
  // Drops one session now. False: there is none.
  [[nodiscard]] boost::asio::awaitable<bool> disconnect(std::uint32_t sid);
  // Ends all connections that came to this address (Portals::drop_local() has the order). When this returns their
  // sockets are closed, with RST; sessions that have no other end in the background. Returns how many there were.
  [[nodiscard]] boost::asio::awaitable<std::size_t> drop_local(IpAddress address);
  // The same for every connection of every target, discovery included: whoever comes again is answered anew. For a node
  // that cannot answer, and does not know whether another one can.
  [[nodiscard]] boost::asio::awaitable<std::size_t> drop_all(const char* why);
  // Before drop_local(), when another machine takes the address in a moment: their initiators hear nothing more,
  // instead of answers that are only this machine's (a unit on its way to standby), and try again when it is there to
  // answer.
  [[nodiscard]] boost::asio::awaitable<void> mute_local(IpAddress address);
  // Async message 1 to all (or those of one target), then drop after `grace`; returns when all are gone.
  [[nodiscard]] boost::asio::awaitable<void> log_out(std::string_view target, std::chrono::milliseconds grace);
  [[nodiscard]] boost::asio::awaitable<void> close(std::chrono::milliseconds grace);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with what shards have to tell
};

}  // namespace mpath::target
