#include "base/shard.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

namespace mpath {

void Shard::start() {
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), fmt::format("shard-{}", index_).c_str());
    // A file that may not grow any further is an error of the write (EFBIG), not the end of the daemon.
    sigset_t file_size;
    ::sigemptyset(&file_size);
    ::sigaddset(&file_size, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &file_size, nullptr);
    context_.run();
  });
}

void Shard::stop() {
  work_.reset();
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace mpath
