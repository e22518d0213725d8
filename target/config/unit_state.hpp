// What a logical unit keeps on the target's own disk: its UUID and its SCSI state, in var/lib/mptarget/lu/NAME/.
//
// Directories of units that are in no configuration are left alone: the unit may come back, and then it is the same
// one.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>

#include "target/scsi/logical_unit.hpp"

namespace mpath::target {

// Blocking. The UUID of the unit, made and written down when there is none. The error is one line with the file, and
// what to do.
[[nodiscard]] std::expected<Uuid, std::string> load_unit_uuid(const std::filesystem::path& directory);
// Keeps one that was configured, so that it stays when the line goes.
[[nodiscard]] std::expected<void, std::string> keep_unit_uuid(const std::filesystem::path& directory, const Uuid& uuid);
// Blocking. What survived, or the first state of a new unit. A write cache that the configuration forbids stays off
// whatever an initiator saved. A file that cannot be trusted is an error, never a fresh start: it may have held
// reservations that others rely on.
[[nodiscard]] std::expected<LuState, std::string> load_unit_state(const std::filesystem::path& directory,
                                                                  const LuOptions& options);

// The state in a file: replaced as a whole through a pool thread, one write at a time.
//
// Threads: commit() on the unit's shard, and `done` there too. Destroy when no commit is under way.
class FileStateLog final : public StateLog {
 public:
  FileStateLog(Shard& home, boost::asio::thread_pool& pool, std::filesystem::path directory, const Log& log);
  ~FileStateLog() override;
  void commit(const LuState& after, Done done) override;

 private:
  Shard& home_;
  boost::asio::thread_pool& pool_;
  std::filesystem::path file_;
  Log log_;
  bool busy_ = false;
};

// For units that keep nothing.
class VolatileStateLog final : public StateLog {
 public:
  explicit VolatileStateLog(Shard& home) : home_(home) {}
  void commit(const LuState& after, Done done) override;

 private:
  Shard& home_;
};

}  // namespace mpath::target
