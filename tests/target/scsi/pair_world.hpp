// One node of a pair: a unit that stands by until it is told to lead, reached through ports of group 1; group 2 is the
// other node's.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "base/filter_device.hpp"
#include "target/scsi/serving.hpp"
#include "tests/target/scsi/quiet_unit.hpp"

namespace mpath::target::test {

// A store whose role may go: then it carries nothing out any more.
class RoleDevice final : public FilterDevice {
 public:
  explicit RoleDevice(BlockDevice& device) : FilterDevice(device) {}
  void submit(BlockRequest& request) noexcept override {
    if (!lost) return behind().submit(request);
    request.status = BlockStatus::shutdown;
    request.done(request);
  }
  [[nodiscard]] std::string spec() const override { return "role"; }
  bool lost = false;
};

// Before UnitWorld, which lends it to the unit.
struct PairBase {
  Serving serving;
  std::unique_ptr<RoleDevice> role;
};

struct PairWorld : PairBase, UnitWorld {
  static constexpr auto optimized = scsi::AccessState::optimized;
  static constexpr auto standby = scsi::AccessState::standby;

  explicit PairWorld(Duration latency = Duration(0), LuState state = {})
      : UnitWorld(
            latency, std::move(state), [this](LuOptions& options) { options.serving = &serving; },
            [this](BlockDevice& device) -> BlockDevice& {
              role = std::make_unique<RoleDevice>(device);
              return *role;
            }) {
    unit->set_cluster_access({{1, standby}, {2, optimized}});
    hear_all();
  }
  ~PairWorld() {
    if (unit_is_held) unit->release();
  }
  error_code take_over() {
    std::optional<error_code> result;
    unit->take_over([&](error_code error) { result = error; });
    settle();
    EXPECT_TRUE(result);
    return result.value_or(error_code{});
  }
  // All that makes this node the one that serves, and everybody told of it.
  void lead() {
    serving.set_until(never);
    EXPECT_FALSE(take_over());
    unit->set_cluster_access({{1, optimized}, {2, standby}});
    hear_all();
  }
  // All that makes it the one that does not, as the other one's decision.
  void lose() {
    serving.set_until(TimePoint::min());
    unit->stand_by();
    unit->set_cluster_access({{1, standby}, {2, optimized}});
  }
  void hold() {
    unit_is_held = true;
    unit->hold([this] { ++helds; });
  }
  void release() {
    unit_is_held = false;
    unit->release();
  }
  [[nodiscard]] LuState state() const { return unit->status().state; }
  scsi::Sense news(unsigned from) {
    const auto asked = run(from, scsi::request_sense_cdb());
    const auto data = scsi::decode_sense(asked->answer());
    EXPECT_TRUE(data);
    return data ? data->sense : scsi::Sense{};
  }

  unsigned helds = 0;
  bool unit_is_held = false;
};

}  // namespace mpath::target::test
