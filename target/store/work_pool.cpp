#include "target/store/work_pool.hpp"

#include <pthread.h>
#include <signal.h>

#include <system_error>
#include <utility>

namespace mpath::target {

WorkPool::WorkPool(boost::asio::io_context& loop, void* owner, Handler work, Handler deliver, unsigned threads_max)
    : owner_(owner), work_(work), deliver_(deliver), threads_max_(threads_max), done_(loop, this, &deliver_chain) {
  threads_.reserve(threads_max);
  threads_.emplace_back([this] { run(); });  // one from the start: with it everything can be done, if slowly
}

WorkPool::~WorkPool() {
  {
    const std::lock_guard lock(mutex_);
    CHECK(queue_.empty());
    stop_ = true;
  }
  wanted_.notify_all();
  for (std::thread& each : threads_) each.join();
}

void WorkPool::push(StoreIo& first) {
  bool someone_is_idle = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(first);
    someone_is_idle = idle_ >= queue_.size();
  }
  if (!someone_is_idle && threads_.size() < threads_max_) {
    try {
      threads_.emplace_back([this] { run(); });
      return;
    } catch (const std::system_error&) {
      threads_max_ = static_cast<unsigned>(threads_.size());  // the system gives no more: these have to do
    }
  }
  wanted_.notify_one();
}

void WorkPool::run() {
  ::pthread_setname_np(::pthread_self(), "store");
  // Signals are for others, and a file that may not grow any further is an error of the write, not our death (SIGXFSZ).
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wanted_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    --idle_;
    StoreIo* first = queue_.pop_front();
    if (first == nullptr) return;
    lock.unlock();
    for (StoreIo* io = first; io != nullptr; io = io->sibling) work_(owner_, *io);
    done_.push(*first);
    lock.lock();
  }
}

void WorkPool::deliver_chain(void* self, StoreIo& first) noexcept {
  const WorkPool& pool = *static_cast<WorkPool*>(self);
  for (StoreIo* io = &first; io != nullptr;) {
    StoreIo* after = std::exchange(io->sibling, nullptr);
    pool.deliver_(pool.owner_, *io);
    io = after;
  }
}

}  // namespace mpath::target
