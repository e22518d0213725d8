// A shard: one I/O thread with its event loop, clock and buffers. A map, its path sessions and its export connections
// live on one shard, so that the hot path has no lock, no atomic and no thread hop.
//
// Threads: everything reached through a shard belongs to its thread. Others may only call post().
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <memory>
#include <thread>
#include <utility>

#include "base/buffer_pool.hpp"
#include "base/system_clock.hpp"

namespace mpath {

class Shard {
 public:
  explicit Shard(unsigned index) : index_(index) {}
  ~Shard() { stop(); }
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  [[nodiscard]] unsigned index() const { return index_; }
  [[nodiscard]] boost::asio::io_context& context() { return context_; }
  [[nodiscard]] Clock& clock() { return clock_; }
  [[nodiscard]] BufferPool& buffers() { return buffers_; }

  template <typename Function>
  void post(Function&& function) {
    boost::asio::post(context_, std::forward<Function>(function));
  }

  // Runs the loop on a thread of its own, named "shard-N".
  void start();
  // Stops the loop and joins. Handlers that did not run are dropped. Call from another thread; repeatable.
  void stop();

 private:
  // Constant after construction.
  unsigned index_;
  // Owned by the shard's thread.
  boost::asio::io_context context_{1};
  SystemClock clock_{context_};
  BufferPool buffers_;
  // Owned by the thread that starts and stops it.
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{context_.get_executor()};
  std::thread thread_;
};

}  // namespace mpath
