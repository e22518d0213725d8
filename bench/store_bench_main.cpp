// What a backing store costs without a network: a full queue on one file, or one system call after the other as the
// measure of what can be had.
//
//   store_bench --path FILE [--file-size 256m] --engine io_uring|threads|plain --op read|write --size 4k --depth 32
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <future>
#include <map>
#include <memory>

#include "base/shard.hpp"
#include "base/unique_fd.hpp"
#include "bench/bench_run.hpp"
#include "target/store/store.hpp"

namespace {

using namespace mpath;
using namespace mpath::bench;
using target::Store;
using target::StoreEngine;

enum class Engine : std::uint8_t { io_uring, threads, plain };

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

struct Run {
  RunOptions options;
  Totals totals;
  std::uint64_t end = 0;
};

struct Io : BlockRequest {
  std::vector<std::byte> memory;
  iovec part{};
  std::uint64_t started = 0;
  struct Loader* loader = nullptr;
};

// Keeps the store's queue full, on its shard. All that completes in one wake is submitted again in that wake.
struct Loader {
  Loader(Store& to, Run& of) : store(to), run(of), pattern(of.options.load), ios(of.options.load.depth) {
    for (Io& io : ios) {
      io.memory.assign(run.options.load.size, std::byte{0x5a});
      io.part = {io.memory.data(), io.memory.size()};
      io.length = io.memory.size();
      io.data = std::span(&io.part, 1);
      io.loader = this;
      io.done = [](BlockRequest& request) noexcept {
        static_cast<Io&>(request).loader->done(static_cast<Io&>(request));
      };
    }
  }
  void start() {
    in_flight = static_cast<std::uint32_t>(ios.size());
    for (Io& io : ios) ask(io);
  }
  void ask(Io& io) {
    io.started = now_ns();
    io.op = pattern.next_is_read() ? BlockOp::read : BlockOp::write;
    io.offset = pattern.next_offset(store.limits().size_bytes);
    store.submit(io);
  }
  void done(Io& io) noexcept {
    const std::uint64_t now = now_ns();
    if (io.status != BlockStatus::ok) ++run.totals.errors;
    run.totals.latency.add(now - io.started);
    if (now < run.end) {
      ask(io);
    } else if (--in_flight == 0) {
      finished.set_value();
    }
  }

  Store& store;
  Run& run;
  Pattern pattern;
  std::vector<Io> ios;
  std::uint32_t in_flight = 0;
  std::promise<void> finished;
};

void load_plain(Run& run, const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const off_t size = fd ? ::lseek(fd.get(), 0, SEEK_END) : -1;
  if (size < 0) throw_errno(path.c_str());
  std::vector<std::byte> memory(run.options.load.size, std::byte{0x5a});
  const iovec part{memory.data(), memory.size()};
  Pattern pattern(run.options.load);
  for (std::uint64_t before = now_ns(); before < run.end;) {
    const bool reads = pattern.next_is_read();
    const auto at = static_cast<off_t>(pattern.next_offset(static_cast<std::uint64_t>(size)));
    const ssize_t moved = reads ? ::preadv(fd.get(), &part, 1, at) : ::pwritev(fd.get(), &part, 1, at);
    if (moved != static_cast<ssize_t>(part.iov_len)) ++run.totals.errors;
    const std::uint64_t now = now_ns();
    run.totals.latency.add(now - before);
    before = now;
  }
}

void load_store(Run& run, const target::StoreOptions& options) {
  StderrSink sink;
  const LogOutput output(sink);
  Shard shard(0);
  auto store = Store::open(shard, options, Log(output));
  if (!store) throw std::runtime_error(store.error());
  Loader loader(**store, run);
  shard.start();
  shard.post([&] { loader.start(); });
  loader.finished.get_future().get();
  std::promise<void> closed;
  shard.post([&] {
    fmt::print("system calls of the shard for I/O, per I/O: {:.2f}\n",
               static_cast<double>((*store)->system_calls()) / static_cast<double>(run.totals.latency.total()));
    (*store)->close([&](error_code) { closed.set_value(); });
  });
  closed.get_future().get();
  shard.stop();
}

}  // namespace

int main(int argc, char** argv) {
  Run run;
  target::StoreOptions store{.name = "bench", .create = true, .atomic_bytes_max = 0};
  Engine engine = Engine::io_uring;
  CLI::App app("Loads a backing store with a full queue and prints rate, latency and CPU per I/O", "store_bench");
  const std::map<std::string, Engine> engines{
      {"io_uring", Engine::io_uring}, {"threads", Engine::threads}, {"plain", Engine::plain}};
  app.add_option("--path", store.path, "the file")->required();
  app.add_option("--file-size", store.size_bytes, "it is made or grown to this")->transform(CLI::AsSizeValue(false));
  app.add_option("--engine", engine, "plain: one preadv or pwritev after the other")
      ->transform(CLI::CheckedTransformer(engines));
  app.add_flag("--direct", store.direct, "around the page cache");
  add_options(app, run.options);
  CLI11_PARSE(app, argc, argv);
  try {
    const double before = own_cpu_us();
    const std::uint64_t begin = now_ns();
    run.end = begin + static_cast<std::uint64_t>(run.options.seconds * 1e9);
    store.engine = engine == Engine::threads ? StoreEngine::threads : StoreEngine::io_uring;
    if (engine == Engine::plain) {
      load_plain(run, store.path);
    } else {
      load_store(run, store);
    }
    const Outcome outcome{.seconds = static_cast<double>(now_ns() - begin) / 1e9, .client_us = own_cpu_us() - before};
    print_report(run.options, run.totals, outcome);
    return run.totals.errors == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "store_bench: {}\n", error.what());
    return 1;
  }
}
