#include "exports/ublk_control.hpp"

#include <fcntl.h>
#include <liburing.h>
#include <sys/eventfd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/offload.hpp"
#include "exports/kernel_sysfs.hpp"

namespace mpath {
namespace {

namespace asio = boost::asio;

constexpr char control_path[] = "/dev/ublk-control";
constexpr std::uint32_t no_device = 0xffffffff;
constexpr char class_path[] = "/sys/class/ublk-char";

// The device, or the errno.
Result<int> open_device() {
  int fd = ::open(control_path, O_RDWR | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO)) {
    static_cast<void>(load_module("ublk_drv"));
    fd = ::open(control_path, O_RDWR | O_CLOEXEC);
  }
  if (fd < 0) return failure(errno);
  return fd;
}

std::vector<std::uint32_t> device_numbers() {
  std::vector<std::uint32_t> numbers;
  std::error_code error;
  for (std::filesystem::directory_iterator at(class_path, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();  // ublkcN
    const char* digits = name.c_str() + name.find_last_not_of("0123456789") + 1;
    std::uint32_t number = 0;
    if (std::from_chars(digits, name.c_str() + name.size(), number).ec == std::errc{}) numbers.push_back(number);
  }
  return numbers;
}

// A ring for one command.
class CommandRing {
 public:
  CommandRing() {
    io_uring_params params{};
    params.flags = IORING_SETUP_SQE128;
    error_ = -::io_uring_queue_init_params(1, &ring_, &params);
  }
  ~CommandRing() {
    if (error_ == 0) ::io_uring_queue_exit(&ring_);
  }
  CommandRing(const CommandRing&) = delete;
  CommandRing& operator=(const CommandRing&) = delete;

  // An errno.
  [[nodiscard]] int send(int device, ublk::Command command, const ublksrv_ctrl_cmd& body, int event) {
    if (error_ != 0) return error_;
    if (const int refused = ::io_uring_register_eventfd(&ring_, event); refused < 0) return -refused;
    io_uring_sqe* entry = ::io_uring_get_sqe(&ring_);
    ::io_uring_prep_rw(IORING_OP_URING_CMD, entry, device, nullptr, 0, 0);
    entry->cmd_op = static_cast<std::uint32_t>(command);
    std::memcpy(entry->cmd, &body, sizeof body);
    const int sent = ::io_uring_submit(&ring_);
    return sent < 0 ? -sent : 0;
  }
  [[nodiscard]] int result() {
    io_uring_cqe* found = nullptr;
    if (::io_uring_peek_cqe(&ring_, &found) != 0 || found == nullptr) return -EIO;
    const int result = found->res;
    ::io_uring_cqe_seen(&ring_, found);
    return result;
  }

 private:
  io_uring ring_{};
  int error_ = 0;
};

}  // namespace

asio::awaitable<std::string> UblkControl::open() {
  const auto opened = co_await offload(blocking_, open_device);
  if (!opened) {
    const bool permission = opened.error() == std::errc::permission_denied ||
                            opened.error() == std::errc::operation_not_permitted;
    refusal_ = errno_code(permission ? EPERM : ENODEV);
    co_return permission ? "not permitted to open /dev/ublk-control"
                         : "the kernel has no ublk (/dev/ublk-control is missing, and the module ublk_drv cannot be loaded)";
  }
  device_.reset(*opened);
  const auto features = std::as_writable_bytes(std::span(&features_, 1));
  const error_code asked = co_await run(ublk::Command::get_features, no_device, features, 0);
  if (asked == std::errc::operation_not_permitted || asked == std::errc::permission_denied) {
    refusal_ = errno_code(EPERM);
    co_return "not permitted: io_uring or ublk is closed to this process";
  }
  refusal_ = errno_code(ENODEV);
  if (asked == std::errc::function_not_supported) co_return "the kernel has no io_uring";
  if (asked) co_return "the kernel's ublk is too old: it must be that of Linux 6.5 at least";
  if ((features_ & ublk::features_needed) != ublk::features_needed) co_return "the kernel's ublk keeps no disk for the next process";
  refusal_ = {};
  co_return std::string();
}

asio::awaitable<std::vector<ublksrv_ctrl_dev_info>> UblkControl::devices() {
  const std::vector<std::uint32_t> numbers = co_await offload(blocking_, device_numbers);
  std::vector<ublksrv_ctrl_dev_info> found;
  for (const std::uint32_t number : numbers) {
    const auto device = co_await info(number);
    if (device) found.push_back(*device);  // else it is gone, or not ours to ask
  }
  co_return found;
}

asio::awaitable<Result<ublksrv_ctrl_dev_info>> UblkControl::info(std::uint32_t id) {
  ublksrv_ctrl_dev_info info{};
  const auto bytes = std::as_writable_bytes(std::span(&info, 1));
  const error_code error = co_await run(ublk::Command::get_dev_info, id, bytes, 0);
  if (error) co_return failure(error);
  co_return info;
}

asio::awaitable<Result<ublksrv_ctrl_dev_info>> UblkControl::add(ublksrv_ctrl_dev_info wanted) {
  const auto bytes = std::as_writable_bytes(std::span(&wanted, 1));
  const error_code error = co_await run(ublk::Command::add_dev, wanted.dev_id, bytes, 0);
  if (error) co_return failure(error);
  co_return wanted;
}

asio::awaitable<error_code> UblkControl::set_params(std::uint32_t id, ublk_params params) {
  const auto bytes = std::as_writable_bytes(std::span(&params, 1));
  co_return co_await run(ublk::Command::set_params, id, bytes, 0);
}

asio::awaitable<Result<ublk_params>> UblkControl::params(std::uint32_t id) {
  ublk_params params{};
  params.len = sizeof params;
  const auto bytes = std::as_writable_bytes(std::span(&params, 1));
  const error_code error = co_await run(ublk::Command::get_params, id, bytes, 0);
  if (error) co_return failure(error);
  co_return params;
}

asio::awaitable<error_code> UblkControl::command(ublk::Command command, std::uint32_t id, std::uint64_t value) {
  return run(command, id, {}, value);
}

asio::awaitable<error_code> UblkControl::remove(std::uint32_t id) {
  const error_code error = co_await command(ublk::Command::del_dev_async, id);
  if (error != std::errc::operation_not_supported) co_return error;
  co_return co_await command(ublk::Command::del_dev, id);
}

asio::awaitable<error_code> UblkControl::run(ublk::Command command, std::uint32_t id, std::span<std::byte> buffer,
                                             std::uint64_t value) {
  ublksrv_ctrl_cmd body{};
  body.dev_id = id;
  body.queue_id = static_cast<std::uint16_t>(-1);
  body.addr = reinterpret_cast<std::uintptr_t>(buffer.data());
  body.len = static_cast<std::uint16_t>(buffer.size());
  body.data[0] = value;
  CommandRing ring;
  asio::posix::stream_descriptor done(control_, ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (const int error = ring.send(device_.get(), command, body, done.native_handle()); error != 0) co_return errno_code(error);
  auto token = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::as_tuple(asio::use_awaitable));
  co_await done.async_wait(asio::posix::stream_descriptor::wait_read, token);
  const int result = ring.result();
  co_return result < 0 ? errno_code(-result) : error_code{};
}

}  // namespace mpath
