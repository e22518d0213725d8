// /dev/ublk-control: devices are made, found, started, taken over and removed here.
//
// Threads:      the control thread. The kernel carries each command out on a thread of its own, however long that takes
//               (START_DEV waits for the queue, and reads the partition table through it); nothing here blocks meanwhile.
// Cancellation: none; a command is awaited to its end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "exports/ublk_rules.hpp"

namespace mpath {

class UblkControl {
 public:
  template <typename T>
  using awaitable = boost::asio::awaitable<T>;

  UblkControl(boost::asio::io_context& control, boost::asio::thread_pool& blocking)
      : control_(control), blocking_(blocking) {}

  // Loads the module where it is missing. The text says why ublk cannot be used here; empty when it can.
  [[nodiscard]] awaitable<std::string> open();
  // As open() fails: ENODEV, or EPERM.
  [[nodiscard]] error_code refusal() const { return refusal_; }
  [[nodiscard]] bool can(std::uint64_t feature) const { return (features_ & feature) != 0; }

  // All devices there are, of whomever.
  [[nodiscard]] awaitable<std::vector<ublksrv_ctrl_dev_info>> devices();
  [[nodiscard]] awaitable<Result<ublksrv_ctrl_dev_info>> info(std::uint32_t id);
  [[nodiscard]] awaitable<Result<ublksrv_ctrl_dev_info>> add(ublksrv_ctrl_dev_info wanted);
  [[nodiscard]] awaitable<error_code> set_params(std::uint32_t id, ublk_params params);
  [[nodiscard]] awaitable<Result<ublk_params>> params(std::uint32_t id);
  // ublk::Command without a buffer: start_dev and end_recovery carry our pid, update_size the sectors.
  [[nodiscard]] awaitable<error_code> command(ublk::Command command, std::uint32_t id, std::uint64_t value = 0);
  // DEL_DEV, without waiting for those who still have the disk open where the kernel can.
  [[nodiscard]] awaitable<error_code> remove(std::uint32_t id);

 private:
  [[nodiscard]] awaitable<error_code> run(ublk::Command command, std::uint32_t id, std::span<std::byte> buffer,
                                          std::uint64_t value);

  boost::asio::io_context& control_;
  boost::asio::thread_pool& blocking_;
  UniqueFd device_;
  std::uint64_t features_ = 0;
  error_code refusal_;
};

}  // namespace mpath
