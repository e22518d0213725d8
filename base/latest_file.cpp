#include "base/latest_file.hpp"

#include <utility>

#include "base/atomic_file.hpp"
#include "base/offload.hpp"

namespace mpath {

LatestFile::LatestFile(const boost::asio::any_io_executor& loop, boost::asio::thread_pool& blocking,
                       std::filesystem::path file, std::function<void(error_code)> failed)
    : blocking_(blocking), file_(std::move(file)), failed_(std::move(failed)), written_(loop) {}

boost::asio::awaitable<void> LatestFile::save(std::string text) {
  text_ = std::move(text);
  const std::uint64_t mine = ++wanted_;
  while (saved_ < mine) {
    if (writing_) {
      co_await written_.wait_uncancelled();
      continue;
    }
    writing_ = true;
    written_.clear();
    const std::uint64_t latest = wanted_;
    auto write = [this, now = text_] { return replace_file(file_, now); };
    const error_code error = co_await offload(blocking_, write);
    if (error) failed_(error);
    saved_ = latest;
    writing_ = false;
    written_.set();
  }
}

}  // namespace mpath
