#include "exports/nbd_disk.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>

#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/run_on.hpp"
#include "base/sleep.hpp"
#include "base/system_clock.hpp"
#include "base/task_group.hpp"
#include "base/unique_fd.hpp"
#include "exports/kernel_nbd.hpp"
#include "exports/kernel_sysfs.hpp"
#include "exports/nbd_export.hpp"
#include "exports/nbd_rules.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;

// How old a request may be before the kernel looks whether its socket is still the one it went to. Shorter, and it says
// more often in its log that a request takes long, when all paths are down.
constexpr auto look_interval = "3000";  // milliseconds
constexpr std::uint64_t request_kib_wanted = 1024;
constexpr std::uint64_t sector_bytes = 512;  // of the kernel's own sizes
// A process that was killed a moment ago: the kernel has not yet heard that its socket is dead.
constexpr auto dead_socket_limit = std::chrono::seconds(5);
constexpr auto dead_socket_pause = std::chrono::milliseconds(50);

// Larger requests than the 128 KiB of the start; what the kernel does not take is left as it is.
void tune(const std::string& device) {
  const std::filesystem::path queue = std::filesystem::path("/sys/block") / device / "queue";
  static_cast<void>(set_attribute(queue / "io_timeout", look_interval));
  const std::uint64_t most = std::min(read_number(queue / "max_hw_sectors_kb").value_or(request_kib_wanted), request_kib_wanted);
  static_cast<void>(set_attribute(queue / "max_sectors_kb", std::to_string(most)));
}

class NbdDisk final : public KernelDisk {
 public:
  explicit NbdDisk(KernelDiskSetup setup)
      : setup_(std::move(setup)), clock_(setup_.control), tasks_(setup_.control.get_executor()) {}

  [[nodiscard]] awaitable<Result<std::string>> attach() override;
  [[nodiscard]] awaitable<error_code> detach(bool force) override;
  [[nodiscard]] awaitable<void> leave() override;

 private:
  enum class State : std::uint8_t { idle, attached, ending };

  [[nodiscard]] awaitable<error_code> open_export();
  [[nodiscard]] awaitable<error_code> connect();
  [[nodiscard]] awaitable<void> close_export(void (NbdExport::*how)(std::function<void()>));
  [[nodiscard]] awaitable<void> mend();
  [[nodiscard]] awaitable<void> resize(std::uint64_t size_bytes);
  [[nodiscard]] kernel_nbd::Connection connection(int socket) const;

  KernelDiskSetup setup_;
  SystemClock clock_;
  TaskGroup tasks_;
  State state_ = State::idle;
  std::unique_ptr<NbdExport> export_;  // touched on the shard only
  BlockLimits limits_;
  std::optional<unsigned> index_;
  std::string device_;
};

awaitable<Result<std::string>> NbdDisk::attach() {
  auto load = [] { return load_module("nbd"); };
  if (const error_code error = co_await offload(setup_.blocking, load)) co_return failure(error);
  if (const error_code error = co_await open_export()) co_return failure(error);
  auto look = [this] { return kernel_nbd::find(setup_.identity); };
  index_ = co_await offload(setup_.blocking, look);
  if (index_) setup_.log.notice("map {}: nbd{} is taken over", setup_.name, *index_);
  if (const error_code error = co_await connect()) {
    co_await close_export(&NbdExport::leave);
    co_return failure(error);
  }
  state_ = State::attached;
  co_return device_;
}

awaitable<error_code> NbdDisk::open_export() {
  auto open = [this] {
    NbdExport::Events events{
        .limits_changed =
            [this](const BlockLimits& limits) {
              boost::asio::post(setup_.control, [this, limits] {
                const bool grown = limits.size_bytes != limits_.size_bytes;
                limits_ = limits;
                if (grown && state_ == State::attached) tasks_.spawn(resize(limits.size_bytes));
              });
            },
        .gone = {},
        .connection_ended =
            [this](error_code, const NbdCounters&) {
              boost::asio::post(setup_.control, [this] {
                if (state_ == State::attached) tasks_.spawn(mend());
              });
            }};
    // What the kernel asks for at a time is bounded by its own queue.
    export_ = std::make_unique<NbdExport>(setup_.device, setup_.shard, NbdExportLimits{}, std::move(events));
    return export_->open();
  };
  limits_ = co_await run_on(setup_.shard, open);
  co_return limits_.size_bytes > 0 ? error_code{} : errno_code(EINVAL);
}

kernel_nbd::Connection NbdDisk::connection(int socket) const {
  return {.socket = socket,
          .size_bytes = limits_.size_bytes,
          .block_size = limits_.block_size,
          .flags = export_flags(limits_, false),
          .identity = setup_.identity,
          .absence_limit = setup_.absence_limit};
}

// A fresh pair of sockets between the device that is there, or a new one, and our export.
awaitable<error_code> NbdDisk::connect() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) {
    co_return errno_code(errno);
  }
  auto ours = std::make_shared<UniqueFd>(ends[0]);
  const UniqueFd kernels(ends[1]);
  auto admit = [this, ours] { export_->admit(std::move(*ours), NbdAgreement{.export_name = setup_.name}, {}); };
  co_await run_on(setup_.shard, admit);
  const kernel_nbd::Connection wanted = connection(kernels.get());
  const bool made_before = index_.has_value();
  if (!index_) {
    auto make = [&wanted] { return kernel_nbd::connect(wanted); };
    const auto made = co_await offload(setup_.blocking, make);
    if (!made) co_return made.error();
    index_ = *made;
  } else {
    auto again = [this, &wanted] { return kernel_nbd::reconnect(*index_, wanted); };
    const TimePoint limit = clock_.now() + dead_socket_limit;
    for (;;) {
      const error_code error = co_await offload(setup_.blocking, again);
      if (!error) break;
      if (error != std::errc::no_space_on_device || clock_.now() > limit) co_return error;
      if (co_await sleep_until(clock_, clock_.now() + dead_socket_pause)) co_return error;
    }
  }
  device_ = "nbd" + std::to_string(*index_);
  auto set = [this] {
    tune(device_);
    return read_number("/sys/block/" + device_ + "/size");
  };
  const auto size = co_await offload(setup_.blocking, set);
  if (made_before && size && *size * sector_bytes != limits_.size_bytes) co_await resize(limits_.size_bytes);
  co_return error_code{};
}

// The connection has ended and nobody here wanted it to: somebody took the device away, or the kernel gave its socket up.
awaitable<void> NbdDisk::mend() {
  auto look = [this] { return kernel_nbd::find(setup_.identity); };
  const auto found = co_await offload(setup_.blocking, look);
  if (state_ != State::attached) co_return;
  std::string why = "it was disconnected";
  if (found && found == index_) {
    setup_.log.warning("map {}: the kernel has closed the socket of {}; it gets another", setup_.name, device_);
    const error_code error = co_await connect();
    if (!error) co_return;
    why = error.message();
  }
  if (state_ != State::attached) co_return;
  setup_.log.warning("map {}: {} is gone: {}", setup_.name, device_, why);
  index_.reset();  // by now it may be somebody else's
  if (setup_.on_lost) setup_.on_lost(why);
}

awaitable<void> NbdDisk::resize(std::uint64_t size_bytes) {
  auto work = [this, size_bytes] { return kernel_nbd::resize(*index_, setup_.identity, size_bytes); };
  const error_code error = co_await offload(setup_.blocking, work);
  if (error) {
    setup_.log.error("map {}: {} keeps its old size: {}", setup_.name, device_, error.message());
  } else {
    setup_.log.notice("map {}: {} has {} bytes now", setup_.name, device_, size_bytes);
  }
}

awaitable<error_code> NbdDisk::detach(bool force) {
  if (state_ == State::attached && !force) {
    auto look = [this] { return is_in_use(device_); };
    if (co_await offload(setup_.blocking, look)) co_return errno_code(EBUSY);
  }
  const bool attached = std::exchange(state_, State::ending) == State::attached;
  co_await tasks_.close();
  error_code error;
  if (attached && index_) {
    // The kernel says goodbye on the socket, and so ends our connection.
    auto work = [this] { return kernel_nbd::disconnect(*index_); };
    error = co_await offload(setup_.blocking, work);
  }
  co_await close_export(&NbdExport::drain);
  co_return error;
}

awaitable<void> NbdDisk::leave() {
  state_ = State::ending;
  co_await tasks_.close();
  co_await close_export(&NbdExport::leave);
}

awaitable<void> NbdDisk::close_export(void (NbdExport::*how)(std::function<void()>)) {
  auto end = [this, how](const std::function<void(bool)>& answer) {
    if (export_ == nullptr) return answer(true);
    (export_.get()->*how)([this, answer] {
      export_.reset();
      answer(true);
    });
  };
  co_await ask_on<bool>(setup_.shard, end);
}

}  // namespace

std::unique_ptr<KernelDisk> make_nbd_disk(KernelDiskSetup setup) { return std::make_unique<NbdDisk>(std::move(setup)); }

}  // namespace mpath
