#include "exports/tcmu_disk.hpp"

#include <sys/mman.h>

#include <boost/asio/post.hpp>
#include <span>
#include <utility>

#include "base/event.hpp"
#include "base/offload.hpp"
#include "base/run_on.hpp"
#include "base/sleep.hpp"
#include "base/system_clock.hpp"
#include "base/task_group.hpp"
#include "exports/kernel_sysfs.hpp"
#include "exports/tcmu_kernel.hpp"
#include "exports/tcmu_service.hpp"

namespace mpath {
namespace {

using boost::asio::awaitable;

constexpr auto look_pause = std::chrono::milliseconds(20);
constexpr auto appear_limit = std::chrono::seconds(60);      // of the uio device and of the disk, on a slow machine
constexpr auto predecessor_limit = std::chrono::seconds(20);  // for a killed process to be gone in full
constexpr auto quiet_limit = std::chrono::seconds(10);       // for what is under way

// The ring and its service. Outlives the disk when the device still holds requests at its end: their payloads are in here.
struct Served {
  explicit Served(std::span<std::byte> shared) : memory(shared) {}
  Served(const Served&) = delete;
  Served& operator=(const Served&) = delete;
  ~Served() { ::munmap(memory.data(), memory.size()); }
  std::span<std::byte> memory;
  std::unique_ptr<TcmuService> service;  // touched on the shard only
};

class TcmuDisk final : public KernelDisk {
 public:
  explicit TcmuDisk(KernelDiskSetup setup)
      : setup_(std::move(setup)),
        clock_(setup_.control),
        kernel_(setup_.identity),
        tasks_(setup_.control.get_executor()),
        alive_(std::make_shared<bool>(true)) {}
  ~TcmuDisk() override { *alive_ = false; }

  [[nodiscard]] awaitable<Result<std::string>> attach() override;
  [[nodiscard]] awaitable<error_code> detach(bool force) override;
  [[nodiscard]] awaitable<void> leave() override;

 private:
  [[nodiscard]] awaitable<error_code> find_or_make();
  [[nodiscard]] awaitable<error_code> open_ring();
  [[nodiscard]] awaitable<error_code> serve();
  [[nodiscard]] awaitable<Result<std::string>> make_disk();
  [[nodiscard]] TcmuService::Events events();
  void on_limits(const BlockLimits& limits);
  [[nodiscard]] awaitable<void> follow_limits();
  [[nodiscard]] awaitable<bool> is_quiet();
  [[nodiscard]] awaitable<bool> stop_serving();
  [[nodiscard]] awaitable<error_code> remove(bool force);

  KernelDiskSetup setup_;
  SystemClock clock_;
  TcmuKernel kernel_;
  TaskGroup tasks_;
  std::shared_ptr<bool> alive_;  // what shards post home asks it first

  UniqueFd doorbell_;
  std::shared_ptr<Served> served_;
  BlockLimits limits_;
  std::string device_;
  bool taken_over_ = false;
  bool attached_ = false;
  bool serving_ = false;   // the service answers
  bool following_ = false;
  bool changed_ = false;   // the limits, since the kernel was told
};

awaitable<Result<std::string>> TcmuDisk::attach() {
  auto measure = [this] { return setup_.device.limits(); };
  limits_ = co_await run_on(setup_.shard, measure);
  if (limits_.size_bytes == 0) co_return failure(EINVAL);
  if (const error_code error = co_await find_or_make()) co_return failure(error);
  error_code error = co_await open_ring();
  if (!error) error = co_await serve();
  Result<std::string> name = failure(error);
  if (!error) name = co_await make_disk();
  if (!name) {
    if (taken_over_) {
      co_await leave();  // it stays as it was
    } else {
      static_cast<void>(co_await remove(true));
    }
    co_return failure(name.error());
  }
  attached_ = true;
  if (changed_) on_limits(limits_);
  co_return device_;
}

awaitable<error_code> TcmuDisk::find_or_make() {
  auto work = [this]() -> error_code {
    if (const error_code error = kernel_.prepare()) return error;
    const auto found = kernel_.find();
    if (!found) return found.error();
    taken_over_ = *found;
    return taken_over_ ? error_code{} : kernel_.make_backstore(limits_.size_bytes, limits_.block_size);
  };
  co_return co_await offload(setup_.blocking, work);
}

awaitable<error_code> TcmuDisk::open_ring() {
  auto work = [this]() -> error_code {
    auto opened = kernel_.open_ring();
    if (!opened) return opened.error();
    served_ = std::make_shared<Served>(opened->memory);
    doorbell_ = std::move(opened->device);
    if (!taken_over_) return {};
    // What the former process answered and could not tell any more counts; then all the rest goes back.
    constexpr std::uint32_t bell = 0;
    static_cast<void>(::write(doorbell_.get(), &bell, sizeof(bell)));
    return kernel_.reset_ring(false);
  };
  const TimePoint begin = clock_.now();
  for (;;) {
    const error_code error = co_await offload(setup_.blocking, work);
    const bool soon = error == std::errc::resource_unavailable_try_again && clock_.now() - begin < appear_limit;
    const bool left = error == std::errc::device_or_resource_busy && clock_.now() - begin < predecessor_limit;
    if (!soon && !left) co_return error;
    if (co_await sleep_for(clock_, look_pause)) co_return error;
  }
}

TcmuService::Events TcmuDisk::events() {
  // From the shard, home, where the disk may be gone by then.
  const auto home = [this, alive = alive_](auto work) {
    boost::asio::post(setup_.control, [alive, work] {
      if (*alive) work();
    });
  };
  return {.limits_changed = [this, home](const BlockLimits& limits) { home([this, limits] { on_limits(limits); }); },
          .aborts =
              [this, home](std::uint64_t commands) {
                home([this, commands] {
                  setup_.log.warning("map {}: the host gives up waiting on {} commands={}", setup_.name, device_, commands);
                });
              },
          .lost =
              [this, home](const std::string& why) {
                home([this, why] {
                  serving_ = false;
                  setup_.log.error("map {}: {} is not served any more: {}", setup_.name, device_, why);
                  if (attached_ && setup_.on_lost) setup_.on_lost(why);
                });
              }};
}

awaitable<error_code> TcmuDisk::serve() {
  auto ring = TcmuRing::open(served_->memory);
  if (!ring) {
    setup_.log.error("map {}: the kernel's TCMU is not one that can be served: {}", setup_.name, ring.error().message());
    co_return ring.error();
  }
  auto start = [this, &ring] {
    const TcmuService::Home home{
        .context = setup_.shard.context(), .buffers = setup_.shard.buffers(), .device = setup_.device};
    served_->service =
        std::make_unique<TcmuService>(*ring, std::move(doorbell_), home, setup_.identity, events());
    served_->service->start();
  };
  co_await run_on(setup_.shard, start);
  serving_ = true;
  co_return error_code{};
}

// The host asks the disk what it is while its LUN is made, and reads partitions after that.
awaitable<Result<std::string>> TcmuDisk::make_disk() {
  auto make = [this] { return kernel_.make_lun(); };
  if (const error_code error = co_await offload(setup_.blocking, make)) co_return failure(error);
  auto look = [this] { return kernel_.disk(); };
  const TimePoint begin = clock_.now();
  for (;;) {
    auto name = co_await offload(setup_.blocking, look);
    if (name) {
      device_ = *name;
      break;
    }
    const bool soon = name.error() == std::errc::resource_unavailable_try_again && clock_.now() - begin < appear_limit;
    if (!soon) co_return failure(name.error() == std::errc::resource_unavailable_try_again ? ENODEV : name.error().value());
    if (co_await sleep_for(clock_, look_pause)) co_return failure(ECANCELED);
  }
  auto tune = [this] {
    changed_ = changed_ || kernel_.size() != limits_.size_bytes;
    return kernel_.set_patience(device_);
  };
  if (const error_code error = co_await offload(setup_.blocking, tune)) {
    setup_.log.warning("map {}: {} keeps its time limit for commands: {}", setup_.name, device_, error.message());
  }
  if (taken_over_) setup_.log.notice("map {}: {} is taken over", setup_.name, device_);
  co_return device_;
}

// ---- the map changes

void TcmuDisk::on_limits(const BlockLimits& limits) {
  limits_ = limits;
  changed_ = true;
  if (!attached_ || following_) return;
  following_ = true;
  tasks_.spawn(follow_limits());
}

awaitable<void> TcmuDisk::follow_limits() {
  while (std::exchange(changed_, false)) {
    const std::uint64_t size = limits_.size_bytes;
    auto work = [this, size] { return kernel_.set_size(size, device_); };
    if (const error_code error = co_await offload(setup_.blocking, work)) {
      setup_.log.error("map {}: {} keeps its old size: {}", setup_.name, device_, error.message());
    } else {
      setup_.log.notice("map {}: {} was read again size={}", setup_.name, device_, size);
    }
  }
  following_ = false;
}

// ---- end

// Nothing is under way that the removal would have to wait for.
awaitable<bool> TcmuDisk::is_quiet() {
  auto look = [this] { return served_->service == nullptr || served_->service->in_flight() == 0; };
  const TimePoint limit = clock_.now() + quiet_limit;
  for (;;) {
    if (co_await run_on(setup_.shard, look)) co_return true;
    if (clock_.now() > limit || co_await sleep_for(clock_, look_pause)) co_return false;
  }
}

awaitable<error_code> TcmuDisk::detach(bool force) {
  if (!attached_) co_return error_code{};
  if (!force) {
    auto look = [this] { return is_in_use(device_); };
    if (co_await offload(setup_.blocking, look)) co_return errno_code(EBUSY);
    if (serving_ && !co_await is_quiet()) co_return errno_code(EBUSY);
  }
  attached_ = false;
  co_await tasks_.close();
  co_return co_await remove(force || !serving_);
}

// With `force` nobody is waited for, neither the map nor whoever has the disk open.
awaitable<error_code> TcmuDisk::remove(bool force) {
  if (force) {
    auto refuse = [this] {
      if (served_ && served_->service) served_->service->refuse_all();
    };
    co_await run_on(setup_.shard, refuse);
    auto fail = [this] {
      if (!device_.empty()) static_cast<void>(kernel_.set_offline(device_));
      static_cast<void>(kernel_.reset_ring(true));
    };
    co_await offload(setup_.blocking, fail);
  }
  auto remove_lun = [this] { return kernel_.remove_lun(); };
  error_code error = co_await offload(setup_.blocking, remove_lun);
  static_cast<void>(co_await stop_serving());
  if (!error) {
    auto remove_backstore = [this] { return kernel_.remove_backstore(); };
    error = co_await offload(setup_.blocking, remove_backstore);
  }
  if (error) setup_.log.error("map {}: {} cannot be taken away: {}", setup_.name, device_, error.message());
  co_return error;
}

awaitable<void> TcmuDisk::leave() {
  attached_ = false;
  co_await tasks_.close();
  const bool all_answered = co_await stop_serving();
  if (!all_answered) {
    setup_.log.notice("map {}: {} has commands without an answer, for the next process", setup_.name, device_);
  }
}

// False: not everything was answered in time. It goes on without us, and ends with the last request.
awaitable<bool> TcmuDisk::stop_serving() {
  serving_ = false;
  if (served_ == nullptr) co_return true;
  auto ended = std::make_shared<bool>(false);
  auto stop = [served = std::exchange(served_, nullptr), ended, control = &setup_.control] {
    if (served->service == nullptr) {
      boost::asio::post(*control, [ended] { *ended = true; });
      return;
    }
    served->service->drain([served, ended, control] {
      served->service.reset();
      boost::asio::post(*control, [ended] { *ended = true; });
    });
  };
  co_await run_on(setup_.shard, stop);
  const TimePoint limit = clock_.now() + quiet_limit;
  while (!*ended && clock_.now() < limit) {
    if (co_await sleep_for(clock_, look_pause)) break;
  }
  co_return *ended;
}

}  // namespace

std::unique_ptr<KernelDisk> make_tcmu_disk(KernelDiskSetup setup) {
  return std::make_unique<TcmuDisk>(std::move(setup));
}

}  // namespace mpath
