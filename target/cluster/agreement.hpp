// A data node's part in the agreement, on real links, clocks and media: the shell around NodeFsm.
//
//   links ── messages ──►┐                      ┌── what rests on the record ── ActionQueue ── RecordFile (a thread)
//   alarm ── time ──────►│ NodeFsm ── actions ──┤
//   settle() ───────────►┘                      └── all else: links, fence command
//
// Files, in `directory`: `record` (the votes), `life` (life_file.hpp), `held-back` (held_back_file.hpp). None exists
// before init().
//
// Threads:   the control thread. The record is written on a thread of its own, everything else on the pool.
// Ownership: clock and pool are borrowed. Destroy after stop() has ended.
// Failure:   a record that cannot be written ends this node's part: nothing that rests on it leaves, nothing is sent or
//            taken any more, and trouble() says why. The peer takes over as from a node that is down. A node that is
//            alone in sync may go on serving (fsm().may_serve()): nobody can take its place without it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <expected>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "target/cluster/agreement_links.hpp"
#include "target/cluster/cluster_key.hpp"
#include "target/cluster/fence_command.hpp"
#include "target/replication/node_fsm.hpp"

namespace mpath::target::cluster {

struct AgreementOptions {
  replication::NodeOptions node;
  std::string cluster;              // its name
  std::filesystem::path directory;  // var/lib/mptarget/cluster
  std::vector<LinkOptions> links;   // make_links()
  ClusterKeys keys;
  std::vector<Portal> etcd;            // instead of a witness on the links
  FenceOptions fence;                  // with PeerLoss::fence
  std::optional<std::string> boot_id;  // instead of the kernel's: a loss of memory, played
};

class Agreement {
 public:
  Agreement(boost::asio::io_context& control, Clock& clock, boost::asio::thread_pool& pool, AgreementOptions options,
            const Log& log);
  ~Agreement();

  // Takes part when there is a record; without one only found() is known. Fails with a line for people: files that
  // cannot be used, options that contradict each other.
  [[nodiscard]] boost::asio::awaitable<std::expected<void, std::string>> start();
  // Makes the record and takes part: `cluster init` with the first view; `cluster join` with an empty record, which is
  // suspect until it was filled, so that a node whose disks were replaced is never taken for the one of before. Fails
  // when there is one, unless `anew` and this node does not take part: then what it may have voted is forgotten, which
  // is right only for a node that the others have voted out.
  [[nodiscard]] boost::asio::awaitable<std::expected<void, std::string>> init(replication::VoteRecord first,
                                                                              bool anew = false);
  // Ends the part. `in_order`: all that was acknowledged is on the media, so that the next life has nothing to suspect.
  [[nodiscard]] boost::asio::awaitable<void> stop(bool in_order);

  // A record exists: init or join was said.
  [[nodiscard]] bool found() const;
  // Votes, beats, answers.
  [[nodiscard]] bool takes_part() const;
  // Why it does not although it should; a line.
  [[nodiscard]] const std::string& trouble() const;

  // There is one from when this node took part first. Whoever changes it calls settle() before anything else happens.
  [[nodiscard]] bool has_fsm() const;
  [[nodiscard]] replication::NodeFsm& fsm();
  [[nodiscard]] const replication::NodeFsm& fsm() const;
  // Who does not take over by itself, from here on and after restarts. The other node is told.
  [[nodiscard]] boost::asio::awaitable<std::expected<void, std::string>> hold_back(replication::MemberSet members);
  // Whether what is acknowledged may be in this process's memory only (protocols A and B): if it ends without order
  // while that is so, the next life is suspect. On the medium when this returns. False: it cannot be written.
  [[nodiscard]] boost::asio::awaitable<bool> note_in_hand(bool in_hand);
  [[nodiscard]] bool in_hand() const;
  // Does what the caller's change of fsm() asks for, then calls on_change, unless it is called from there.
  void settle();
  // Something may be different: a message came, time has passed, a record is durable, the part has ended. Often.
  std::function<void()> on_change;

  // Of this life; 0 before it took part.
  [[nodiscard]] std::uint64_t incarnation() const;
  [[nodiscard]] std::vector<LinkStatus> links() const;
  // From here on: the key file was read again.
  void set_keys(const ClusterKeys& keys);

  // What a person should know, a line each: trouble, a suspect memory, a voter with a shorter lease, a fence command
  // that failed.
  [[nodiscard]] std::vector<std::string> alarms() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace mpath::target::cluster
