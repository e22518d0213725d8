// A small file that is to hold the latest of what is written to it, where only the latest counts: texts that come while one is
// being written are not written one by one.
//
// Threads:   one loop; the writing is done on a thread of `blocking`.
// Ownership: destroy when no save() is under way.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/event.hpp"
#include "base/result.hpp"

namespace mpath {

class LatestFile {
 public:
  // `failed` is told of each attempt that did not go well.
  LatestFile(const boost::asio::any_io_executor& loop, boost::asio::thread_pool& blocking, std::filesystem::path file,
             std::function<void(error_code)> failed);

  // Returns when this text or a later one is in the file, as replace_file() puts it there (0600), or could not be written.
  // Not cancelled.
  [[nodiscard]] boost::asio::awaitable<void> save(std::string text);

 private:
  boost::asio::thread_pool& blocking_;
  const std::filesystem::path file_;
  const std::function<void(error_code)> failed_;
  std::string text_;
  std::uint64_t wanted_ = 0, saved_ = 0;  // texts that there were, and the last of them that was tried
  bool writing_ = false;
  Event written_;
};

}  // namespace mpath
