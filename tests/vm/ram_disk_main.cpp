// A disk of the kernel by way of ublk, with nothing behind it: what the stories in the virtual machine use when the daemon
// would only be in the way.
//
//   ram_disk --file FILE --size BYTES [--identity TEXT] [--read-only] [--delay MS]
//
// The contents are in FILE, so that the next process has them. Prints the disk's name. SIGTERM leaves the disk, SIGUSR1
// takes it away and ends, SIGUSR2 grows it by one half. Exit status: 0, 77 when the kernel has no ublk, 1.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <cstring>

#include "base/block_rules.hpp"
#include "base/check.hpp"
#include "base/delay_device.hpp"
#include "base/unique_fd.hpp"
#include "exports/ublk_disk.hpp"

namespace mpath {
namespace {

class FileDevice final : public BlockDevice {
 public:
  FileDevice(const std::string& path, BlockLimits limits) : name_(path), limits_(limits) {
    const UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    bytes_ = limits.size_bytes * 2;
    CHECK(file && ::ftruncate(file.get(), static_cast<off_t>(bytes_)) == 0);
    void* place = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    CHECK(place != MAP_FAILED);
    memory_ = static_cast<std::byte*>(place);
  }
  ~FileDevice() override { ::munmap(memory_, bytes_); }

  [[nodiscard]] const std::string& name() const override { return name_; }
  [[nodiscard]] const BlockLimits& limits() const override { return limits_; }
  void submit(BlockRequest& request) noexcept override {
    request.status = check_request(limits_, request);
    if (request.status == BlockStatus::ok) carry_out(request);
    request.done(request);
  }
  void add_observer(BlockDeviceObserver& observer) override { observer_ = &observer; }
  void remove_observer(BlockDeviceObserver&) override { observer_ = nullptr; }
  void grow() {
    limits_.size_bytes += limits_.size_bytes / 2;
    if (observer_ != nullptr) observer_->on_limits_changed(limits_);
  }
  void report() const { std::printf("flushes=%lu fua=%lu trims=%lu zeroes=%lu\n", flushes_, fua_, trims_, zeroes_); }

 private:
  void carry_out(const BlockRequest& request) {
    std::byte* at = memory_ + request.offset;
    for (const iovec& part : request.data) {
      if (request.op == BlockOp::read) {
        std::memcpy(part.iov_base, at, part.iov_len);
      } else {
        std::memcpy(at, part.iov_base, part.iov_len);
      }
      at += part.iov_len;
    }
    if (request.op == BlockOp::trim || request.op == BlockOp::write_zeroes) std::memset(at, 0, request.length);
    flushes_ += request.op == BlockOp::flush ? 1 : 0;
    fua_ += request.fua ? 1 : 0;
    trims_ += request.op == BlockOp::trim ? 1 : 0;
    zeroes_ += request.op == BlockOp::write_zeroes ? 1 : 0;
  }

  std::string name_;
  BlockLimits limits_;
  std::size_t bytes_ = 0;
  std::byte* memory_ = nullptr;
  BlockDeviceObserver* observer_ = nullptr;
  unsigned long flushes_ = 0, fua_ = 0, trims_ = 0, zeroes_ = 0;
};

boost::asio::awaitable<int> serve(boost::asio::io_context* control, boost::asio::thread_pool* blocking, Shard* shard,
                                  FileDevice* device, BlockDevice* front, std::string identity, const LogOutput* output) {
  KernelDiskSetup setup{.control = *control,
                        .blocking = *blocking,
                        .device = *front,
                        .shard = *shard,
                        .identity = identity,
                        .name = "ram",
                        .log = Log(*output, "ram"),
                        .on_lost = [](const std::string& why) { std::printf("lost: %s\n", why.c_str()); }};
  const auto disk = make_ublk_disk(std::move(setup));
  const auto name = co_await disk->attach();
  if (!name) co_return name.error() == std::errc::no_such_device ? 77 : 1;
  std::printf("%s\n", name->c_str());
  boost::asio::signal_set signals(*control, SIGTERM, SIGUSR1, SIGUSR2);
  for (;;) {
    const int signal = co_await signals.async_wait(boost::asio::use_awaitable);
    if (signal == SIGUSR2) {
      shard->post([device] { device->grow(); });
      continue;
    }
    if (signal == SIGTERM) {
      co_await disk->leave();
      break;
    }
    const error_code error = co_await disk->detach(false);
    if (!error) break;
    std::printf("detach: %s\n", error.message().c_str());
  }
  device->report();
  co_return 0;
}

}  // namespace
}  // namespace mpath

int main(int argc, char** argv) {
  using namespace mpath;
  std::string file, identity = "ram";
  BlockLimits limits{.can_trim = true, .can_zero = true};
  CLI::App app("a disk in memory, by way of ublk");
  app.add_option("--file", file)->required();
  app.add_option("--size", limits.size_bytes)->required();
  app.add_option("--identity", identity);
  app.add_flag("--read-only", limits.read_only);
  unsigned delay_ms = 0;
  app.add_option("--delay", delay_ms);
  CLI11_PARSE(app, argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);

  StderrSink sink;
  const LogOutput output(sink, LogLevel::info);
  boost::asio::io_context control;
  boost::asio::thread_pool blocking(2);
  Shard shard(0);
  FileDevice device(file, limits);
  DelayDevice::Delays delays;
  delays.of.fill(std::chrono::milliseconds(delay_ms));
  DelayDevice slow(device, shard.clock(), delays);
  BlockDevice* front = delay_ms > 0 ? static_cast<BlockDevice*>(&slow) : &device;
  shard.start();
  int status = 1;
  boost::asio::co_spawn(control, serve(&control, &blocking, &shard, &device, front, identity, &output),
                        [&status](const std::exception_ptr& exception, int result) { status = exception ? 1 : result; });
  control.run();
  shard.stop();
  blocking.join();
  return status;
}
