// A unit whose nexuses were told of everything already, with the commands that tests of the unit itself send most.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <vector>

#include "target/scsi/logical_unit.hpp"
#include "tests/target/scsi/unit_world.hpp"
#include "wire/scsi_mode.hpp"

namespace mpath::target::test {

inline scsi::Cdb tur() {
  return scsi::test_unit_ready_cdb();
}
inline scsi::Cdb reserve_6() {
  return UnitWorld::cdb({0x16, 0, 0, 0, 0, 0});
}
inline scsi::Cdb release_6() {
  return UnitWorld::cdb({0x17, 0, 0, 0, 0, 0});
}
inline scsi::Cdb mode_select_6(unsigned length, bool save = false) {
  return UnitWorld::cdb({0x15, save ? 0x11u : 0x10u, 0, 0, length, 0});
}
inline std::vector<std::byte> block_of(unsigned value) {
  return std::vector<std::byte>(UnitWorld::block, static_cast<std::byte>(value));
}

// The unit with everybody told of everything.
struct QuietUnit : UnitWorld {
  explicit QuietUnit(Duration latency = Duration(0)) : UnitWorld(latency) { hear_all(); }
  iscsi::TaskResult manage(iscsi::TaskFunction function, unsigned from, std::uint32_t tag = 0) {
    std::optional<iscsi::TaskResult> result;
    unit->manage(function, *nexuses[from], tag, [&](iscsi::TaskResult value) { result = value; });
    settle();
    EXPECT_TRUE(result);
    return result.value_or(iscsi::TaskResult::rejected);
  }
  // A mode page of the control or caching kind with one byte of its body changed.
  std::unique_ptr<Call> select(unsigned from, std::uint8_t page, std::size_t at, std::uint8_t mask, std::uint8_t value,
                               bool save = false) {
    const auto now = run(from, scsi::mode_sense_6_cdb(page));
    auto parameters = *scsi::decode_mode_parameters(now->answer(), true);
    parameters.pages[0].savable = false;
    auto& byte = parameters.pages[0].body.at(at);
    byte = (byte & ~std::byte{mask}) | std::byte{value};
    auto list = scsi::encode_mode_parameters({.blocks = {}, .pages = parameters.pages}, true);
    list[0] = std::byte{0};
    return run(from, mode_select_6(static_cast<unsigned>(list.size()), save), list);
  }
};

}  // namespace mpath::target::test
