#include "target/replication/map_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <optional>

#include "base/atomic_file.hpp"
#include "base/shard.hpp"

namespace mpath::target::replication {
namespace {

error_code last_error() {
  return {errno, std::system_category()};
}

error_code write_pages(int fd, const std::vector<DirtyMap::PageWrite>& pages) {
  for (const DirtyMap::PageWrite& page : pages) {
    std::size_t done = 0;
    while (done < page.page.size()) {
      const auto at = static_cast<off_t>(std::uint64_t{page.index} * DirtyMap::page_bytes + done);
      const ssize_t count = ::pwrite(fd, page.page.data() + done, page.page.size() - done, at);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return last_error();
      done += static_cast<std::size_t>(count);
    }
  }
  return ::fdatasync(fd) == 0 ? error_code{} : last_error();
}

// Whatever is there of the page.
Result<std::vector<std::byte>> read_page(int fd, std::uint32_t index) {
  std::vector<std::byte> page(DirtyMap::page_bytes);
  const ssize_t count = ::pread(fd, page.data(), page.size(), static_cast<off_t>(std::uint64_t{index} * DirtyMap::page_bytes));
  if (count < 0) return std::unexpected(last_error());
  page.resize(static_cast<std::size_t>(count));
  return page;
}

// Fails with an errno, or because a page is whole and of another unit or shape.
Result<DirtyMap> read_map(int fd, const DirtyMap::Shape& shape) {
  DirtyMap map(shape);
  for (std::uint32_t index = 0; index < shape.pages(); ++index) {
    const auto page = read_page(fd, index);
    if (!page) return std::unexpected(page.error());
    if (const auto loaded = map.load(index, *page); !loaded) return std::unexpected(loaded.error());
  }
  return map;
}

// What the map was before the unit has grown to `shape`; nothing where it has not.
std::optional<DirtyMap> map_before(int fd, const DirtyMap::Shape& shape) {
  const auto page = read_page(fd, 0);
  const auto before = page ? DirtyMap::shape_of(*page) : std::nullopt;
  if (!before || before->unit != shape.unit || before->size_bytes == 0 || before->size_bytes >= shape.size_bytes) return std::nullopt;
  auto map = read_map(fd, *before);
  return map ? std::optional(std::move(*map)) : std::nullopt;
}

}  // namespace

std::expected<MapFile::Opened, std::string> MapFile::open(const std::filesystem::path& path,
                                                          const DirtyMap::Shape& shape, Shard& shard,
                                                          boost::asio::thread_pool& pool) {
  const auto failed = [&path](const std::string& why) { return std::unexpected(path.string() + ": " + why); };
  std::error_code made;
  std::filesystem::create_directories(path.parent_path(), made);
  if (made) return failed(made.message());
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return failed(last_error().message());
  if (const auto before = map_before(file.get(), shape)) {
    if (const error_code error = replace_file(path, DirtyMap(*before, shape).encode_all())) return failed(error.message());
    file = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!file) return failed(last_error().message());
  }
  auto map = read_map(file.get(), shape);
  if (!map && map.error().category() == std::system_category()) return failed(map.error().message());
  if (!map) {
    return failed(
        "is the map of another unit, or of this one when it was larger; without it everything is compared "
        "when the peer connects: remove the file if that is meant");
  }
  return Opened{.file = std::unique_ptr<MapFile>(new MapFile(std::move(file), shard, pool)), .map = std::move(*map)};
}

void MapFile::write(std::vector<DirtyMap::PageWrite> pages, std::function<void(error_code)> done) {
  auto work = [this, pages = std::move(pages), done = std::move(done)]() mutable {
    const error_code error = write_pages(file_.get(), pages);
    boost::asio::post(shard_.context(), [error, answer = std::move(done)] { answer(error); });
  };
  boost::asio::post(pool_, std::move(work));
}

}  // namespace mpath::target::replication
