// The vote record on the medium: two copies, written in turn, of which the newer whole one counts. Losing power while
// one is written leaves the other.
//
// Threads: blocks; one thread at a time (offload()). Ownership: the file stays open, and locked against a second
// process.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "wire/replication.hpp"

namespace mpath::target::replication {

class RecordFile {
 public:
  using Cluster = std::array<std::byte, 16>;

  // Opens `path`, or makes it with `first`. The error is one line with the file and what to do: it cannot be opened,
  // another process has it, it is of another cluster, or neither copy is whole. Never begins anew over a file that is
  // not empty: the node may have voted.
  [[nodiscard]] static std::expected<RecordFile, std::string> open(const std::filesystem::path& path,
                                                                   const Cluster& cluster,
                                                                   const mpath::replication::VoteRecord& first);

  [[nodiscard]] const mpath::replication::VoteRecord& record() const { return stored_.record; }
  // Returns when it is on the medium. After a failure the record is the one of before, or the new one; record() says
  // the one of before, and nothing that rests on the new one may be said.
  [[nodiscard]] error_code write(const mpath::replication::VoteRecord& record);

 private:
  RecordFile(UniqueFd file, const mpath::replication::StoredRecord& stored) : file_(std::move(file)), stored_(stored) {}

  UniqueFd file_;
  mpath::replication::StoredRecord stored_;
};

}  // namespace mpath::target::replication
