// The map of differences in a file of its own beside the unit's identity.
//
// Threads:   open() and load() block; write() on the unit's shard, the file is written on the pool.
// Ownership: shard and pool are borrowed. Destroy when no write is under way.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>

#include "base/log.hpp"
#include "base/unique_fd.hpp"
#include "target/replication/dirty_map.hpp"

namespace mpath {
class Shard;
}

namespace mpath::target::replication {

class MapFile final : public MapStore {
 public:
  struct Opened {
    std::unique_ptr<MapFile> file;
    DirtyMap map;
  };
  // A file that is not there yet says that everything may differ; so do pages that are not whole. That of a unit that has
  // grown since is replaced. The error is one line: it cannot be used, or is of another unit or a larger one.
  [[nodiscard]] static std::expected<Opened, std::string> open(const std::filesystem::path& path,
                                                               const DirtyMap::Shape& shape, Shard& shard,
                                                               boost::asio::thread_pool& pool);

  void write(std::vector<DirtyMap::PageWrite> pages, std::function<void(error_code)> done) override;

 private:
  MapFile(UniqueFd file, Shard& shard, boost::asio::thread_pool& pool)
      : file_(std::move(file)), shard_(shard), pool_(pool) {}

  UniqueFd file_;
  Shard& shard_;
  boost::asio::thread_pool& pool_;
};

}  // namespace mpath::target::replication
