#include "exports/nbd_export.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace mpath {

NbdExport::NbdExport(BlockDevice& device, Shard& shard, const NbdExportLimits& limits, Events events)
    : device_(device), shard_(shard), limits_(limits), events_(std::move(events)), budget_(limits.budget) {}

NbdExport::~NbdExport() {
  CHECK(connections_.empty());
  if (watching_) device_.remove_observer(*this);
}

BlockLimits NbdExport::open() {
  device_.add_observer(*this);
  watching_ = true;
  return device_.limits();
}

void NbdExport::admit(UniqueFd socket, const NbdAgreement& agreement, std::span<const std::byte> already) {
  const NbdRules rules{.payload_max = limits_.connection.payload_max,
                       .structured_replies = agreement.structured_replies,
                       .base_allocation = agreement.base_allocation};
  const NbdConnectionHome home{
      .context = shard_.context(), .buffers = shard_.buffers(), .device = device_, .budget = budget_};
  const auto ended = [this](NbdConnection& connection, error_code why) { connection_ended(connection, why); };
  NbdConnection& connection = *connections_.emplace_back(
      std::make_unique<NbdConnection>(std::move(socket), home, rules, limits_.connection, ended));
  connection.start(already);
  if (ending_ != nullptr) (connection.*ending_)();
}

void NbdExport::drain(std::function<void()> empty) {
  empty_ = std::move(empty);
  end_connections(&NbdConnection::drain);
  finish_if_empty();
}

void NbdExport::leave(std::function<void()> empty) {
  empty_ = std::move(empty);
  end_connections(&NbdConnection::leave);
  finish_if_empty();
}

NbdCounters NbdExport::counters() const {
  NbdCounters sum = ended_counters_;
  for (const auto& connection : connections_) sum += connection->counters();
  return sum;
}

void NbdExport::on_limits_changed(const BlockLimits& limits) {
  if (events_.limits_changed) events_.limits_changed(limits);
}

void NbdExport::on_gone() {
  end_connections(&NbdConnection::drain);
  if (events_.gone) events_.gone();
}

void NbdExport::end_connections(void (NbdConnection::*how)()) {
  if (ending_ != nullptr) return;
  ending_ = how;
  drain_alarm_ = shard_.clock().make_alarm([this] {
    for (const auto& connection : connections_) connection->abort(std::make_error_code(std::errc::timed_out));
  });
  drain_alarm_->set(shard_.clock().now() + limits_.drain_limit);
  for (const auto& connection : connections_) ((*connection).*how)();
}

void NbdExport::connection_ended(NbdConnection& connection, error_code why) {
  const NbdCounters counters = connection.counters();
  ended_counters_ += counters;
  std::erase_if(connections_, [&](const auto& owned) { return owned.get() == &connection; });
  if (events_.connection_ended) events_.connection_ended(why, counters);
  finish_if_empty();
}

void NbdExport::finish_if_empty() {
  if (!empty_ || !connections_.empty()) return;
  drain_alarm_.reset();
  if (watching_) device_.remove_observer(*this);
  watching_ = false;
  shard_.post(std::exchange(empty_, nullptr));
}

}  // namespace mpath
