// What the tests of stores share: a shard with its thread, a directory, and requests that are waited for.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "base/block_names.hpp"
#include "base/log.hpp"
#include "base/shard.hpp"
#include "target/store/store.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target {

inline std::ostream& operator<<(std::ostream& out, StoreEngine engine) {
  return out << (engine == StoreEngine::io_uring ? "io_uring" : "threads");
}

}  // namespace mpath::target

namespace mpath {
inline std::ostream& operator<<(std::ostream& out, BlockStatus status) {
  return out << block_status_name(status);
}
}  // namespace mpath

namespace mpath::target::test {

// A request with memory of its own.
struct Request : BlockRequest {
  explicit Request(BlockOp which, std::uint64_t at = 0, std::size_t bytes = 0, std::byte fill = {}) {
    op = which;
    offset = at;
    length = bytes;
    if (which == BlockOp::read || which == BlockOp::write) memory.assign(bytes, fill);
    parts.push_back({memory.data(), memory.size()});
    data = parts;
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  // The memory in pieces of `bytes`, at addresses that are aligned to nothing when `odd`.
  Request& scattered(std::size_t bytes, bool odd = false) {
    const std::byte fill = memory.empty() ? std::byte{} : memory[0];
    memory.assign(length + (odd ? 1 : 0), fill);
    parts.clear();
    std::byte* from = memory.data() + (odd ? 1 : 0);
    for (std::size_t from_start = 0; from_start < length; from_start += bytes)
      parts.push_back({from + from_start, std::min(bytes, length - from_start)});
    data = parts;
    return *this;
  }
  std::vector<std::byte> memory;
  std::vector<iovec> parts;
  std::promise<void> finished;
  std::uint64_t error_at = 0;
  Store* store = nullptr;
};

class StoreFixture {
 public:
  StoreFixture() { shard.start(); }
  ~StoreFixture() {
    close();
    shard.stop();
  }

  [[nodiscard]] std::string path(const std::string& name = "disk") const { return (directory / name).string(); }
  [[nodiscard]] StoreOptions file(StoreEngine engine, std::uint64_t size = 4 << 20) const {
    return {.name = "disk", .path = path(), .size_bytes = size, .create = true, .engine = engine};
  }
  // Opens as `store`; the answer is empty or the error line.
  std::string open(const StoreOptions& options) {
    auto opened = Store::open(shard, options, Log(output));
    if (!opened) return opened.error();
    store = std::move(*opened);
    return {};
  }
  error_code close() {
    if (!store) return {};
    std::promise<error_code> closed;
    shard.post([&] { store->close([&](error_code error) { closed.set_value(error); }); });
    const error_code error = closed.get_future().get();
    on_shard([&] { store.reset(); });
    return error;
  }
  template <typename Function>
  void on_shard(Function function) {
    std::promise<void> ran;
    shard.post([&] {
      function();
      ran.set_value();
    });
    ran.get_future().get();
  }
  void start(Request& request) {  // on the shard
    request.store = store.get();
    request.done = [](BlockRequest& each) noexcept {
      auto& own = static_cast<Request&>(each);
      own.error_at = own.store->error_offset();
      own.finished.set_value();
    };
    store->submit(request);
  }
  BlockStatus run(Request& request) {
    shard.post([&] { start(request); });
    request.finished.get_future().get();
    return request.status;
  }
  BlockStatus run(BlockOp op, std::uint64_t at = 0, std::size_t bytes = 0, std::byte fill = {}, bool fua = false) {
    Request request(op, at, bytes, fill);
    request.fua = fua;
    return run(request);
  }
  BlockStatus run_atomic(Request& request) {
    shard.post([&] {
      request.store = store.get();
      request.done = [](BlockRequest& each) noexcept { static_cast<Request&>(each).finished.set_value(); };
      store->submit_atomic(request);
    });
    request.finished.get_future().get();
    return request.status;
  }
  std::vector<std::byte> read(std::uint64_t at, std::size_t bytes) {
    Request request(BlockOp::read, at, bytes, std::byte{0xee});
    EXPECT_EQ(run(request), BlockStatus::ok);
    return request.memory;
  }
  std::vector<BlockExtent> extents(std::uint64_t at, std::uint64_t bytes, std::uint32_t most = 100) {
    std::vector<BlockExtent> found;
    Request request(BlockOp::extents, at, bytes);
    request.extents = &found;
    request.extents_max = most;
    EXPECT_EQ(run(request), BlockStatus::ok);
    return found;
  }

  const mpath::test::TemporaryDirectory directory;
  MemorySink sink;
  LogOutput output{sink, LogLevel::debug};
  Shard shard{0};
  std::unique_ptr<Store> store;
};

inline std::vector<std::byte> bytes_of(std::size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

}  // namespace mpath::target::test
