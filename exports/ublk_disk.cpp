#include "exports/ublk_disk.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <exception>
#include <utility>

#include "base/check.hpp"
#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/run_on.hpp"
#include "base/sleep.hpp"
#include "base/system_clock.hpp"
#include "base/task_group.hpp"
#include "base/unique_fd.hpp"
#include "base/within.hpp"
#include "exports/kernel_sysfs.hpp"
#include "exports/ublk_control.hpp"
#include "exports/ublk_queue.hpp"
#include "exports/ublk_rules.hpp"

namespace mpath {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The process before us may still be dying, and the kernel collects what it had in flight.
constexpr seconds takeover_limit{30};
constexpr milliseconds poll_pause{20};
// How long leave() waits for what the device has; the rest is left to the next process.
constexpr seconds leave_limit{5};
constexpr milliseconds quiet_span{100};
constexpr seconds quiet_limit{2};
constexpr seconds quiesce_limit{1};
// The kernel notices the death of a process by its idle tags at once. When every tag was busy it notices when the timer
// of a request fires; while we live that timer is only wound up again.
constexpr milliseconds request_timer{1000};

std::string node_of(std::uint32_t id) { return "ublkb" + std::to_string(id); }

// For work on the pool.
Result<int> open_path(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return failure(errno);
  return fd;
}

error_code set_read_only(const std::string& path, bool read_only) {
  const UniqueFd disk(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const int wanted = read_only ? 1 : 0;
  return disk && ::ioctl(disk.get(), BLKROSET, &wanted) == 0 ? error_code{} : errno_code(errno);
}

class UblkDisk final : public KernelDisk, private BlockDeviceObserver {
 public:
  explicit UblkDisk(KernelDiskSetup setup)
      : setup_(std::move(setup)),
        clock_(setup_.control),
        attached_(setup_.control.get_executor()),
        kernel_(setup_.control, setup_.blocking) {
    setup_.log = setup_.log.about("map " + setup_.name);
    attached_.set();
  }

  awaitable<Result<std::string>> attach() override { return to_the_end<Result<std::string>>(&UblkDisk::do_attach); }
  awaitable<error_code> detach(bool force) override {
    force_ = force;
    return to_the_end<error_code>(&UblkDisk::do_detach);
  }
  awaitable<void> leave() override {
    leaving_ = true;
    static_cast<void>(co_await to_the_end<error_code>(&UblkDisk::do_leave));
  }

 private:
  template <typename T>
  awaitable<T> to_the_end(awaitable<T> (UblkDisk::*work)());

  awaitable<Result<std::string>> do_attach();
  awaitable<error_code> find_or_make();
  awaitable<error_code> make();
  awaitable<error_code> take_over(ublksrv_ctrl_dev_info info);
  awaitable<error_code> recover(ublksrv_ctrl_dev_info info);
  awaitable<error_code> start_queue(unsigned depth, std::uint32_t io_bytes);
  awaitable<Result<UniqueFd>> open_character();
  awaitable<void> finish();

  awaitable<error_code> do_detach();
  awaitable<error_code> do_leave();
  awaitable<bool> hold_until_quiet();
  awaitable<bool> wait_quiesced(std::chrono::milliseconds limit);
  awaitable<void> close_queue();
  void log_counters(const char* what) const;

  // The device's, on the shard.
  void on_limits_changed(const BlockLimits& limits) override;
  void on_gone() override {}  // its requests fail, until the disk goes
  void lost();
  awaitable<void> follow(BlockLimits limits);

  KernelDiskSetup setup_;
  SystemClock clock_;
  std::unique_ptr<TaskGroup> tasks_;  // once attached
  Event attached_;  // set while no attach() is under way
  UblkControl kernel_;
  const std::int32_t pid_ = ::getpid();
  BlockLimits limits_;  // as the kernel has them
  std::optional<std::uint32_t> id_;
  std::shared_ptr<UblkQueue> queue_;
  UblkQueue::Counters counters_;  // of the queue that was closed
  bool observing_ = false;
  bool leaving_ = false;
  bool force_ = false;
};

// The kernel's half of the work cannot be stopped in the middle, so ours is not either: whoever awaits may be cancelled,
// and sees that afterwards.
template <typename T>
awaitable<T> UblkDisk::to_the_end(awaitable<T> (UblkDisk::*work)()) {
  Event ended(setup_.control.get_executor());
  std::optional<T> value;
  auto done = [&ended, &value](const std::exception_ptr& exception, T result) {
    CHECK(!exception);
    value.emplace(std::move(result));
    ended.set();
  };
  asio::co_spawn(setup_.control, (this->*work)(), done);
  co_await ended.wait_uncancelled();
  co_return std::move(*value);
}

// ---- attach

awaitable<Result<std::string>> UblkDisk::do_attach() {
  CHECK(!id_ && !leaving_);
  attached_.clear();
  const std::string refused = co_await kernel_.open();
  error_code error = kernel_.refusal();
  if (!refused.empty()) {
    setup_.log.error("ublk: {}", refused);
  } else {
    auto look = [this] { return setup_.device.limits(); };
    limits_ = co_await run_on(setup_.shard, look);
    error = co_await find_or_make();
    if (!error) co_await finish();
  }
  attached_.set();
  if (error) co_return failure(error);
  co_return node_of(*id_);
}

awaitable<void> UblkDisk::finish() {
  const std::string timer = "/sys/block/" + node_of(*id_) + "/queue/io_timeout";
  auto wind = [timer] { return set_attribute(timer, std::to_string(request_timer.count())); };
  static_cast<void>(co_await offload(setup_.blocking, wind));
  auto observe = [this] {
    setup_.device.add_observer(*this);
    on_limits_changed(setup_.device.limits());  // what happened meanwhile
  };
  tasks_ = std::make_unique<TaskGroup>(setup_.control.get_executor());
  observing_ = true;
  co_await run_on(setup_.shard, observe);
}

awaitable<error_code> UblkDisk::find_or_make() {
  const std::uint64_t mark = ublk::mark_of(setup_.identity);
  const std::vector<ublksrv_ctrl_dev_info> devices = co_await kernel_.devices();
  for (const ublksrv_ctrl_dev_info& info : devices) {
    const ublk::Found found = ublk::judge(info, mark);
    switch (found) {
      case ublk::Found::foreign:
        break;
      case ublk::Found::unstarted:
        static_cast<void>(co_await kernel_.remove(info.dev_id));
        break;
      case ublk::Found::left:
        co_return co_await take_over(info);
      case ublk::Found::misshapen:
        setup_.log.error("ublk{} has the mark of {} but no shape that can be taken over; remove it", info.dev_id, setup_.identity);
        co_return errno_code(EEXIST);
    }
  }
  co_return co_await make();
}

awaitable<error_code> UblkDisk::make() {
  const std::optional<ublk_params> params = ublk::params_of(limits_);
  if (!params) {
    setup_.log.error("ublk: blocks of {} bytes are more than the kernel's disks can have", limits_.block_size);
    co_return errno_code(EINVAL);
  }
  const auto added = co_await kernel_.add(ublk::new_device(ublk::mark_of(setup_.identity), pid_));
  if (!added) {
    setup_.log.error("ublk: no device is to be had: {}", added.error().message());
    co_return added.error();
  }
  id_ = added->dev_id;
  error_code error = co_await kernel_.set_params(*id_, *params);
  if (!error) error = co_await start_queue(added->queue_depth, added->max_io_buf_bytes);
  if (!error) {
    // Comes back when the partition table was looked for, through us.
    error = co_await kernel_.command(ublk::Command::start_dev, *id_, static_cast<std::uint64_t>(pid_));
  }
  if (error) {
    setup_.log.error("{}: cannot be started: {}", node_of(*id_), error.message());
    co_await close_queue();
    static_cast<void>(co_await kernel_.remove(*id_));
    id_.reset();
    co_return error;
  }
  setup_.log.notice("{}: made size={} identity={} buffers={}", node_of(*id_), limits_.size_bytes, setup_.identity,
                    std::uint64_t{added->queue_depth} * added->max_io_buf_bytes);
  co_return error_code{};
}

awaitable<error_code> UblkDisk::take_over(ublksrv_ctrl_dev_info info) {
  id_ = info.dev_id;
  const error_code error = co_await recover(info);
  if (error) {
    setup_.log.error("{}: cannot be taken over from process {}: {}", node_of(*id_), info.ublksrv_pid, error.message());
    co_await close_queue();
    id_.reset();
  }
  co_return error;
}

awaitable<error_code> UblkDisk::recover(ublksrv_ctrl_dev_info info) {
  // Every other command would wait in the kernel, where nothing ends a wait: this one is only a look.
  if (!co_await wait_quiesced(takeover_limit)) co_return errno_code(EBUSY);
  const auto params = co_await kernel_.params(*id_);
  if (!params) co_return params.error();
  if (!ublk::fits(*params, limits_)) {
    setup_.log.error("{}: is of {} but has other blocks or no flush; it stays as it is", node_of(*id_), setup_.identity);
    co_return errno_code(EMEDIUMTYPE);
  }
  const TimePoint deadline = clock_.now() + takeover_limit;
  error_code error = co_await kernel_.command(ublk::Command::start_recovery, *id_);
  while (error == std::errc::device_or_resource_busy && clock_.now() < deadline && !leaving_) {
    co_await sleep_for(clock_, poll_pause);
    error = co_await kernel_.command(ublk::Command::start_recovery, *id_);
  }
  if (!error) error = co_await start_queue(info.queue_depth, info.max_io_buf_bytes);
  if (!error) error = co_await kernel_.command(ublk::Command::end_recovery, *id_, static_cast<std::uint64_t>(pid_));
  if (error) co_return error;
  // follow() brings the disk up to what the device has become since.
  limits_.size_bytes = params->basic.dev_sectors * 512;
  limits_.read_only = (params->basic.attrs & UBLK_ATTR_READ_ONLY) != 0;
  setup_.log.notice("{}: taken over from process {} size={} identity={}", node_of(*id_), info.ublksrv_pid, limits_.size_bytes,
                    setup_.identity);
  co_return error_code{};
}

awaitable<error_code> UblkDisk::start_queue(unsigned depth, std::uint32_t io_bytes) {
  auto character = co_await open_character();
  if (!character) co_return character.error();
  auto opened = UblkQueue::open({.loop = setup_.shard.context(),
                                 .device = setup_.device,
                                 .character = std::move(*character),
                                 .depth = depth,
                                 .io_bytes = io_bytes,
                                 .on_lost = [this] { asio::post(setup_.control, [this] { lost(); }); }});
  if (!opened) co_return opened.error();
  queue_ = *opened;
  if (leaving_) queue_->refuse();
  auto start = [queue = queue_] { return queue->start(); };
  co_return co_await run_on(setup_.shard, start);
}

// The node may be a moment behind the device, and the process before us a moment behind its death.
awaitable<Result<UniqueFd>> UblkDisk::open_character() {
  const std::string path = "/dev/ublkc" + std::to_string(*id_);
  const TimePoint deadline = clock_.now() + takeover_limit;
  for (;;) {
    auto open = [path] { return open_path(path, O_RDWR); };
    const auto fd = co_await offload(setup_.blocking, open);
    if (fd) co_return UniqueFd(*fd);
    const bool soon = fd.error() == std::errc::no_such_file_or_directory || fd.error() == std::errc::device_or_resource_busy;
    if (!soon || clock_.now() >= deadline || leaving_) co_return failure(fd.error());
    co_await sleep_for(clock_, poll_pause);
  }
}

// ---- the end

awaitable<error_code> UblkDisk::do_detach() {
  if (!id_) co_return error_code{};
  const std::string path = "/dev/" + node_of(*id_);
  // Held while the disk goes, so that nobody mounts it in between; and what was written to it without a file system
  // leaves the page cache while there is still a disk to take it.
  UniqueFd held;
  if (!force_) {
    auto look = [node = node_of(*id_)] { return is_in_use(node); };
    if (co_await offload(setup_.blocking, look)) co_return errno_code(EBUSY);
    auto hold = [path]() -> Result<int> {
      auto fd = open_path(path, O_RDONLY | O_EXCL);
      if (fd && ::fsync(*fd) != 0) {
        const int error = errno;
        ::close(*fd);
        return failure(error);
      }
      return fd;
    };
    const auto taken = co_await offload(setup_.blocking, hold);
    if (!taken && taken.error() != std::errc::no_such_file_or_directory && taken.error() != std::errc::no_such_device_or_address) {
      co_return taken.error();
    }
    if (taken) held.reset(*taken);
  }
  auto expect = [queue = queue_] {
    if (queue) queue->expect_end();
  };
  co_await run_on(setup_.shard, expect);
  static_cast<void>(co_await kernel_.command(ublk::Command::stop_dev, *id_));
  co_await close_queue();
  auto let_go = [fd = held.release()] {
    if (fd >= 0) ::close(fd);
  };
  co_await offload(setup_.blocking, let_go);
  error_code error = co_await kernel_.remove(*id_);
  if (error == std::errc::no_such_device) error = {};
  if (error) {
    setup_.log.error("{}: cannot be removed: {}", node_of(*id_), error.message());
  } else {
    log_counters("removed");
  }
  id_.reset();
  co_return error;
}

awaitable<error_code> UblkDisk::do_leave() {
  if (!attached_.is_set() && queue_) {
    // START_DEV may wait for a read that waits for us.
    auto refuse = [queue = queue_] { queue->refuse(); };
    co_await run_on(setup_.shard, refuse);
  }
  co_await attached_.wait_uncancelled();
  if (!queue_) co_return error_code{};
  auto left = std::make_shared<Event>(setup_.control.get_executor());
  auto leave = [this, left, queue = queue_] {
    queue->leave([this, left] { asio::post(setup_.control, [left] { left->set(); }); });
  };
  co_await run_on(setup_.shard, leave);
  const bool in_time = (co_await within(clock_, leave_limit, left->wait())).has_value();
  if (!in_time) setup_.log.warning("{}: left with requests unanswered, for the next process", node_of(*id_));
  const bool all_held = co_await hold_until_quiet();
  co_await close_queue();
  if (!all_held) static_cast<void>(co_await wait_quiesced(quiesce_limit));
  log_counters("left");
  id_.reset();
  co_return error_code{};
}

// Before Linux 6.15, a request that reaches the queue while the kernel takes our ring apart may be handed to the thread
// that served, in its last moments, and nobody looks for it afterwards: the disk hangs until the next boot. So the ring
// stays, and holds every request, until no more come: who submits waits for us, or has no tag left. True then.
awaitable<bool> UblkDisk::hold_until_quiet() {
  const TimePoint deadline = clock_.now() + quiet_limit;
  TimePoint quiet_since = clock_.now();
  std::uint64_t held = 0;
  for (;;) {
    auto look = [queue = queue_] { return std::pair(queue->counters().held, queue->all_held()); };
    const auto [now_held, all] = co_await run_on(setup_.shard, look);
    if (all) co_return true;
    const TimePoint now = clock_.now();
    if (now_held != held) quiet_since = now;
    held = now_held;
    if (now - quiet_since >= quiet_span || now >= deadline) co_return false;
    co_await sleep_for(clock_, poll_pause);
  }
}

// Until the kernel has collected what a process left behind. It cannot while every tag of a living thread is held.
awaitable<bool> UblkDisk::wait_quiesced(std::chrono::milliseconds limit) {
  const TimePoint deadline = clock_.now() + limit;
  for (;;) {
    const auto info = co_await kernel_.info(*id_);
    if (!info || info->state != UBLK_S_DEV_LIVE) co_return info.has_value();
    if (clock_.now() >= deadline || (leaving_ && !attached_.is_set())) co_return false;
    co_await sleep_for(clock_, poll_pause);
  }
}

awaitable<void> UblkDisk::close_queue() {
  if (!queue_) co_return;
  auto close = [this] {
    if (std::exchange(observing_, false)) setup_.device.remove_observer(*this);
    queue_->abandon();
    return queue_->counters();
  };
  counters_ = co_await run_on(setup_.shard, close);
  queue_.reset();
  if (tasks_) co_await tasks_->close();
}

void UblkDisk::log_counters(const char* what) const {
  setup_.log.notice("{}: {} requests={} errors={} held={} bytes_read={} bytes_written={} enters={}", node_of(*id_), what,
                    counters_.requests, counters_.errors, counters_.held, counters_.bytes_read, counters_.bytes_written,
                    counters_.enters);
}

// ---- what happens meanwhile

void UblkDisk::on_limits_changed(const BlockLimits& limits) {
  asio::post(setup_.control, [this, limits] {
    tasks_->spawn(follow(limits));
  });
}

awaitable<void> UblkDisk::follow(BlockLimits limits) {
  if (!id_) co_return;
  const std::string node = node_of(*id_);
  const std::uint64_t size = limits.size_bytes;
  if (size != limits_.size_bytes) {
    const std::uint64_t before = std::exchange(limits_.size_bytes, size);
    error_code error = errno_code(EOPNOTSUPP);
    if (kernel_.can(ublk::feature_update_size)) {
      error = co_await kernel_.command(ublk::Command::update_size, *id_, size / 512);
    }
    if (error == std::errc::operation_not_supported) {
      setup_.log.warning("{}: the map has {} bytes now; this kernel cannot resize a ublk disk, which stays at {} until it is exported anew",
                         node, size, before);
    } else if (error) {
      setup_.log.error("{}: cannot be resized to {} bytes: {}", node, size, error.message());
    } else {
      setup_.log.notice("{}: resized from {} to {} bytes", node, before, size);
    }
  }
  if (limits.read_only != limits_.read_only) {
    limits_.read_only = limits.read_only;
    auto set = [path = "/dev/" + node, read_only = limits.read_only] { return set_read_only(path, read_only); };
    const error_code error = co_await offload(setup_.blocking, set);
    setup_.log.notice("{}: {}{}", node, limits.read_only ? "read-only" : "writable",
                      error ? " in vain: " + error.message() : std::string());
  }
}

void UblkDisk::lost() {
  if (!id_) return;
  const std::string why = node_of(*id_) + " was removed from the kernel by somebody else";
  setup_.log.error("{}", why);
  if (setup_.on_lost) setup_.on_lost(why);
}

}  // namespace

std::unique_ptr<KernelDisk> make_ublk_disk(KernelDiskSetup setup) {
  return std::make_unique<UblkDisk>(std::move(setup));
}

}  // namespace mpath
