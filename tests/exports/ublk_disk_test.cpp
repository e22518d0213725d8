#include "exports/ublk_disk.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>

#include "tests/exports/ram_device.hpp"

namespace mpath {
namespace {

// What a kernel with ublk does is in tests/vm/guest_ublk.sh.
TEST(UblkDisk, SaysWhyWhereThereIsNone) {
  if (::access("/dev/ublk-control", F_OK) == 0) GTEST_SKIP() << "this kernel has ublk";
  MemorySink sink;
  const LogOutput output(sink);
  boost::asio::io_context control;
  boost::asio::thread_pool blocking(1);
  Shard shard(0);
  test::RamDevice device("ram", test::RamDevice::all_features(1 << 20));
  shard.start();
  const auto disk = make_ublk_disk({.control = control,
                                    .blocking = blocking,
                                    .device = device,
                                    .shard = shard,
                                    .identity = "of a test",
                                    .name = "ram",
                                    .log = Log(output)});
  error_code attached;
  error_code detached = std::make_error_code(std::errc::io_error);
  const auto story = [&]() -> boost::asio::awaitable<void> {
    const auto name = co_await disk->attach();
    if (!name) attached = name.error();
    co_await disk->leave();
    detached = co_await disk->detach(false);
  };
  boost::asio::co_spawn(control, story, [](const std::exception_ptr& exception) { EXPECT_FALSE(exception); });
  control.run();
  shard.stop();
  blocking.join();
  EXPECT_EQ(attached, std::errc::no_such_device);
  EXPECT_TRUE(sink.contains("the kernel has no ublk"));
  EXPECT_FALSE(detached) << "nothing was made, so nothing is in the way";
  EXPECT_EQ(device.observers(), 0u);
}

}  // namespace
}  // namespace mpath
