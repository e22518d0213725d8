// Threads for the system calls that block: made when they are needed, at most so many, and the results come back to the
// shard by its mailbox.
//
// Threads:   push() on the shard; `work` on a worker; `deliver` on the shard. Destroy when nothing is under way.
// Chains:    what hangs together by StoreIo::sibling is carried out by one worker, in order, and comes back together:
//            one wake each way for a whole batch.
#pragma once

#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/intrusive.hpp"
#include "base/mailbox.hpp"
#include "target/store/store_io.hpp"

namespace mpath::target {

class WorkPool {
 public:
  using Handler = void (*)(void* owner, StoreIo& io) noexcept;

  WorkPool(boost::asio::io_context& loop, void* owner, Handler work, Handler deliver, unsigned threads_max);
  ~WorkPool();
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  void push(StoreIo& first);
  [[nodiscard]] std::size_t threads() const { return threads_.size(); }

 private:
  void run();
  static void deliver_chain(void* self, StoreIo& first) noexcept;

  // Constant.
  void* owner_;
  Handler work_;
  Handler deliver_;
  // Of the shard.
  unsigned threads_max_;
  std::vector<std::thread> threads_;
  // Shared: by its own rules, and by the mutex.
  Mailbox<StoreIo, &StoreIo::next> done_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  IntrusiveQueue<StoreIo, &StoreIo::next> queue_;
  unsigned idle_ = 0;
  bool stop_ = false;
};

}  // namespace mpath::target
