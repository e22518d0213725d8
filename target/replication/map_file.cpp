#include "target/replication/map_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>

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
  Opened opened{.file = nullptr, .map = DirtyMap(shape)};
  for (std::uint32_t index = 0; index < shape.pages(); ++index) {
    DirtyMap::Page page{};
    const ssize_t count =
        ::pread(file.get(), page.data(), page.size(), static_cast<off_t>(std::uint64_t{index} * DirtyMap::page_bytes));
    if (count < 0) return failed(last_error().message());
    const auto loaded = opened.map.load(index, std::span(page).first(static_cast<std::size_t>(count)));
    if (!loaded) {
      return failed(
          "is the map of another unit, or of this one with another size; without it everything is compared "
          "when the peer connects: remove the file if that is meant");
    }
  }
  opened.file = std::unique_ptr<MapFile>(new MapFile(std::move(file), shard, pool));
  return opened;
}

void MapFile::write(std::vector<DirtyMap::PageWrite> pages, std::function<void(error_code)> done) {
  auto work = [this, pages = std::move(pages), done = std::move(done)]() mutable {
    const error_code error = write_pages(file_.get(), pages);
    boost::asio::post(shard_.context(), [error, answer = std::move(done)] { answer(error); });
  };
  boost::asio::post(pool_, std::move(work));
}

}  // namespace mpath::target::replication
