#include "target/scsi/logical_unit.hpp"

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "target/scsi/access.hpp"
#include "target/scsi/logical_unit_impl.hpp"
#include "target/scsi/medium_state.hpp"
#include "target/scsi/unit_error.hpp"

namespace mpath::target {
namespace sense = scsi::sense;

// --- UnitCore: state and attentions ---------------------------------------------------------------------------------

LogicalUnit::Impl::Impl(LogicalUnit& outer, Shard& home, LuOptions lu_options, BlockDevice& device, StateLog& state_log,
                        LuState state, const Log& parent)
    : outer_(outer),
      home_(home),
      options_(std::move(lu_options)),
      store_(device),
      journal_(dynamic_cast<Store*>(&device)),
      block_bytes_(device.limits().block_size),
      log_(parent.about("lu " + options_.name)),
      inbox_(home.context(), this, [](void* owner, Task& task) noexcept { static_cast<Impl*>(owner)->take(task); }),
      changes_(state_log, std::move(state), [this] { return leads(); }),
      size_bytes_(device.limits().size_bytes) {
  if (options_.serving != nullptr) changes_.follow();
  store_.add_observer(*this);
}

LogicalUnit::Impl::~Impl() {
  CHECK(set_.empty() && changes_.idle());
  store_.remove_observer(*this);
}

void LogicalUnit::Impl::tell(Nexus& nexus, const scsi::Sense& condition) {
  nexus.attentions.establish(condition);
  if (outer_.on_attention) outer_.on_attention(nexus);
}

void LogicalUnit::Impl::attention(const scsi::Sense& condition, const Nexus* except) {
  for (Nexus& nexus : nexuses_) {
    if (&nexus != except) tell(nexus, condition);
  }
}

void LogicalUnit::Impl::attention_for(const NexusName& name, const scsi::Sense& condition) {
  for (Nexus& nexus : nexuses_) {
    if (is_nexus(nexus.name, name)) tell(nexus, condition);
  }
}

std::vector<InitiatorPort> LogicalUnit::Impl::initiators() const {
  std::vector<InitiatorPort> ports;
  for (const Nexus& nexus : nexuses_) ports.push_back(nexus.name.initiator);
  return ports;
}

bool LogicalUnit::Impl::group_busy(std::uint16_t alua_group, const Task& but) const {
  return std::ranges::any_of(nexuses_, [&](const Nexus& nexus) {
    const std::uint32_t own = &nexus == but.nexus ? 1 : 0;
    return nexus.name.target.alua_group == alua_group && nexus.tasks > own;
  });
}

UnitFacts LogicalUnit::Impl::facts() {
  return {.read_only = options_.read_only || store_.limits().read_only,
          .medium_present = medium().present(),
          .gone = gone_,
          .sanitize_bytes = store_.limits().size_bytes * state().sanitize.passes,
          .may_answer = leads(),
          .pair_access = pair_access_.empty() ? nullptr : &pair_access_};
}

void LogicalUnit::Impl::on_limits_changed(const BlockLimits& limits) {
  if (limits.size_bytes == size_bytes_) return;
  size_bytes_ = limits.size_bytes;
  log_.notice("capacity changed bytes={}", size_bytes_);
  attention(sense::capacity_changed, nullptr);
}

void LogicalUnit::Impl::on_gone() {
  gone_ = true;
  log_.error("store is gone");
}

// --- administration -------------------------------------------------------------------------------------------------

LogicalUnit::LogicalUnit(Shard& shard, LuOptions options, BlockDevice& store, StateLog& state_log, LuState state,
                         const Log& log)
    : impl_(std::make_unique<Impl>(*this, shard, std::move(options), store, state_log, std::move(state), log)) {
  if (impl_->changes_.follows()) return;
  // What an earlier life left undone goes on (sanitize), once the unit stands and is on its own shard.
  const std::weak_ptr<bool> alive = impl_->alive_;
  shard.post([impl = impl_.get(), alive] {
    if (!alive.expired()) impl->medium().start();
  });
}

LogicalUnit::~LogicalUnit() = default;

Shard& LogicalUnit::shard() const {
  return impl_->home_;
}
std::uint32_t LogicalUnit::block_bytes() const {
  return impl_->block_bytes_;
}
std::uint32_t LogicalUnit::transfer_bytes_max() const {
  return impl_->options_.transfer_bytes_max;
}

LuStatus LogicalUnit::status() const {
  LuStatus status{.name = impl_->options_.name,
                  .uuid = impl_->options_.uuid,
                  .size_bytes = impl_->size_bytes_,
                  .block_bytes = impl_->block_bytes_,
                  .online = !impl_->gone_ && !impl_->closing_,
                  .state = impl_->state(),
                  .reads = impl_->reads_,
                  .writes = impl_->writes_,
                  .read_bytes = impl_->read_bytes_,
                  .write_bytes = impl_->write_bytes_,
                  .errors = impl_->errors_};
  for (const auto& [group, access] : impl_->pair_access_) status.state.access[group] = access;
  if (impl_->gone_) status.trouble = "the store is gone";
  for (const Nexus& nexus : impl_->nexuses_) status.nexuses.push_back({.name = nexus.name, .tasks = nexus.tasks});
  return status;
}

void LogicalUnit::set_access_state(std::uint16_t alua_group, scsi::AccessState state,
                                   std::function<void(error_code)> done) {
  if (impl_->pair_decides_access()) return done(UnitErrc::pair_decides);
  impl_->change([alua_group, state](LuState& next) { next.access[alua_group] = state; },
                [this, alua_group, state, done = std::move(done)](error_code error) {
                  if (!error) {
                    impl_->log_.notice("access state changed group={} state={}", alua_group, quoted(scsi::name(state)));
                    impl_->attention(sense::alua_changed, nullptr);
                  }
                  done(error);
                });
}

void LogicalUnit::set_ports(std::vector<scsi::PortGroup> groups, std::vector<TargetPort> ports) {
  impl_->options_.port_groups = std::move(groups);
  impl_->options_.ports = std::move(ports);
  impl_->attention(sense::inquiry_changed, nullptr);
}

void LogicalUnit::report_luns_changed() {
  impl_->attention(sense::luns_changed, nullptr);
}

void LogicalUnit::luns_reported(Nexus& nexus) {
  nexus.attentions.clear(sense::luns_changed);
}

void LogicalUnit::set_medium(bool present) {
  const bool before = impl_->medium().present();
  impl_->medium().set_present(present);
  if (present && !before) impl_->attention(sense::medium_may_have_changed, nullptr);
}

void LogicalUnit::clear_reservations(std::function<void(error_code)> done) {
  std::vector<NexusName> holders;
  for (const Registration& known : impl_->state().reservations.registrations)
    holders.push_back({.initiator = known.initiator, .target = known.target});
  impl_->change(
      [](LuState& state) {
        const std::uint32_t generation = state.reservations.generation + 1;
        state.reservations = {.generation = generation};
      },
      [this, holders = std::move(holders), done = std::move(done)](error_code error) {
        if (!error) {
          impl_->log_.notice("reservations cleared by the administrator");
          for (const NexusName& holder : holders) impl_->attention_for(holder, sense::reservations_preempted);
        }
        done(error);
      });
}

// --- the end --------------------------------------------------------------------------------------------------------

void LogicalUnit::close(std::function<void()> closed) {
  CHECK(!impl_->closing_);
  impl_->closing_ = true;
  impl_->closed_ = std::move(closed);
  impl_->abort_where([](const Task&) { return Task::Abort::silent; },
                     [this] { impl_->medium().stop([this] { impl_->close_when_idle(); }); });
}

// The log may still be writing; a change that changes nothing is done right behind it.
void LogicalUnit::Impl::close_when_idle() {
  changes_.change([](LuState&) {},
                  [this](error_code) {
                    last_flush_.unit = this;
                    last_flush_.op = BlockOp::flush;
                    last_flush_.done = [](BlockRequest& request) noexcept {
                      Impl& unit = *static_cast<LastFlush&>(request).unit;
                      // `shutdown`: another node leads, and what is here is synchronised by closing the copy.
                      if (request.status != BlockStatus::ok && request.status != BlockStatus::shutdown)
                        unit.log_.error("the last flush failed");
                      unit.home_.post([&unit] { std::exchange(unit.closed_, [] {})(); });
                    };
                    store_.submit(last_flush_);
                  });
}

}  // namespace mpath::target
