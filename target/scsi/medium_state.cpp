#include "target/scsi/medium_state.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "target/scsi/copy_manager.hpp"
#include "target/scsi/sanitize.hpp"

namespace mpath::target {
namespace {

constexpr std::uint64_t look_every_bytes = 16 << 20;
// Going back below the threshold by this many percent arms the attention anew.
constexpr std::uint64_t threshold_slack_percent = 2;
constexpr Duration flushes_fail_for = std::chrono::seconds(1);   // of one initiator
constexpr Duration loss_is_told_for = std::chrono::minutes(10);  // who comes later has not lived through it

}  // namespace

UnitCore::UnitCore() : medium_(std::make_unique<MediumState>(*this)) {}
UnitCore::~UnitCore() = default;

MediumState::MediumState(UnitCore& core)
    : core_(core), sanitizer_(std::make_unique<Sanitizer>(core)), copies_(std::make_unique<CopyManager>()) {}
MediumState::~MediumState() {
  CHECK(background_ == 0);
}

void MediumState::start() {
  sanitizer_->resume();
}

void MediumState::stop(std::function<void()> stopped) {
  stopped_.push_back(std::move(stopped));
  work_began();
  sanitizer_->interrupt();
  work_ended();
}

void MediumState::nexus_ended(Nexus& nexus) {
  prevent_removal(nexus, false);
  copies_->forget(nexus);
}

void MediumState::reset() {
  for (Nexus* nexus : preventing_) nexus->prevents_removal = false;
  preventing_.clear();
  copies_->forget_all();
}

void MediumState::cache_lost() {
  cache_lost_at_ = core_.clock().now();
  told_of_loss_.clear();
}

bool MediumState::fails_flush(const Nexus& nexus) {
  if (cache_lost_at_ == never) return false;
  const TimePoint now = core_.clock().now();
  if (now >= cache_lost_at_ + loss_is_told_for) {
    cache_lost_at_ = never;
    told_of_loss_.clear();
    return false;
  }
  const auto [first, fresh] = told_of_loss_.emplace(nexus.name.initiator.name, now);
  return now < first->second + flushes_fail_for;
}

bool MediumState::present() const {
  return present_.value_or(!core_.options().no_medium);
}

std::optional<MediumState::Obstacle> MediumState::obstacle() const {
  if (sanitizer_->running()) return Obstacle{sanitize_running, {.progress = sanitizer_->progress()}};
  switch (core_.state().sanitize.phase) {
    case SanitizeState::Phase::none:
      return std::nullopt;
    case SanitizeState::Phase::running:  // and not continued yet
      return Obstacle{sanitize_running, {}};
    case SanitizeState::Phase::failed:
      return Obstacle{sanitize_failed, {}};
  }
  return std::nullopt;
}

void MediumState::prevent_removal(Nexus& nexus, bool prevent) {
  std::erase(preventing_, &nexus);
  nexus.prevents_removal = prevent;
  if (prevent) preventing_.push_back(&nexus);
}

void MediumState::note_written(std::uint64_t bytes) {
  const std::uint64_t threshold = core_.options().threshold_percent;
  if (threshold == 0 || core_.journal() == nullptr) return;
  written_since_look_ += bytes;
  if (written_since_look_ < look_every_bytes) return;
  written_since_look_ = 0;
  const Store::Usage usage = core_.journal()->usage();
  const std::uint64_t all = usage.allocated_bytes + usage.available_bytes;
  if (all == 0) return;
  const std::uint64_t percent =
      static_cast<std::uint64_t>(static_cast<double>(usage.allocated_bytes) / static_cast<double>(all) * 100);
  if (percent >= threshold && !threshold_reported_) {
    threshold_reported_ = true;
    core_.attention(scsi::sense::thin_threshold, nullptr);
  } else if (percent + threshold_slack_percent < threshold) {
    threshold_reported_ = false;
  }
}

void MediumState::work_ended() {
  CHECK(background_ > 0);
  --background_;
  if (background_ > 0) return;
  for (const auto& stopped : std::exchange(stopped_, {})) stopped();
}

}  // namespace mpath::target
