#include "base/shard.hpp"

#include <fmt/format.h>
#include <pthread.h>

namespace mpath {

void Shard::start() {
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), fmt::format("shard-{}", index_).c_str());
    context_.run();
  });
}

void Shard::stop() {
  work_.reset();
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace mpath
