// Who a logical unit is: WWIDs and the identification procedure.
#include <gtest/gtest.h>

#include <map>

#include "mpathd/identification.hpp"
#include "mpathd/wwid.hpp"
#include "wire/scsi_cdb.hpp"
#include "wire/scsi_data.hpp"

namespace mpath {
namespace {

using scsi::Association;
using scsi::CodeSet;
using scsi::Designator;
using scsi::DesignatorType;

scsi::Bytes bytes(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}
scsi::Bytes naa(unsigned type, std::size_t length) {
  scsi::Bytes value(length, std::byte{0x11});
  value[0] = static_cast<std::byte>(type << 4 | 1);
  return value;
}
Designator of(DesignatorType type, scsi::Bytes value, CodeSet code_set = CodeSet::binary) {
  return {.association = Association::logical_unit, .type = type, .code_set = code_set, .bytes = std::move(value)};
}
std::string wwid(std::vector<Designator> designators) { return wwid_of({.designators = std::move(designators)}); }

TEST(Wwid, PrefersTheBetterDesignator) {
  const auto t10 = of(DesignatorType::t10_vendor_id, bytes("IET     00010001"), CodeSet::ascii);
  const auto eui = of(DesignatorType::eui64, scsi::Bytes(8, std::byte{0x22}));
  EXPECT_EQ(wwid({t10}), "1IET_00010001");
  EXPECT_EQ(wwid({t10, eui}), "22222222222222222");
  EXPECT_EQ(wwid({eui, of(DesignatorType::naa, naa(2, 8))}), "32111111111111111");
  EXPECT_EQ(wwid({of(DesignatorType::naa, naa(5, 8)), of(DesignatorType::naa, naa(2, 8))}), "35111111111111111");
  EXPECT_EQ(wwid({of(DesignatorType::naa, naa(5, 8)), of(DesignatorType::naa, naa(6, 16))}),
            "361111111111111111111111111111111");
  EXPECT_EQ(wwid({of(DesignatorType::naa, naa(3, 8)), t10}), "1IET_00010001");
}

TEST(Wwid, WritesNameStringsAsScsiIdDoes) {
  EXPECT_EQ(wwid({of(DesignatorType::scsi_name, bytes("iqn.2026-11.a:b"), CodeSet::utf8)}), "8iqn.2026-11.a:b");
  EXPECT_EQ(wwid({of(DesignatorType::scsi_name, bytes("naa.600abc"), CodeSet::utf8)}), "3600abc");
  EXPECT_EQ(wwid({of(DesignatorType::scsi_name, bytes("eui.0123"), CodeSet::utf8)}), "20123");
}

TEST(Wwid, PassesOverWhatDoesNotNameTheUnitOrHasTheWrongLength) {
  Designator port = of(DesignatorType::naa, naa(6, 16));
  port.association = Association::target_port;
  EXPECT_EQ(wwid({port}), "");
  EXPECT_EQ(wwid({of(DesignatorType::naa, naa(6, 8))}), "");
  EXPECT_EQ(wwid({of(DesignatorType::naa, {})}), "");
  EXPECT_EQ(wwid({of(DesignatorType::eui64, scsi::Bytes(7))}), "");
  EXPECT_EQ(wwid({of(DesignatorType::uuid, scsi::Bytes(18))}), "");
  EXPECT_EQ(wwid({of(DesignatorType::t10_vendor_id, bytes("        "))}), "");
  EXPECT_EQ(wwid({of(DesignatorType::t10_vendor_id, bytes(std::string(300, 'x')))}).size(), wwid_length_max);
}

// A target made of answers by opcode (and page, for INQUIRY).
class Unit {
 public:
  Unit() {
    pages_[0x00] = scsi::encode_vpd_supported(std::vector<std::uint8_t>{0x00, 0x80, 0x83, 0xb0, 0xb2});
    pages_[0x80] = scsi::encode_vpd_serial("serial-1");
    pages_[0x83] = scsi::encode_vpd_device_id(std::vector{of(DesignatorType::naa, naa(6, 16))});
    pages_[0xb0] = scsi::encode_vpd_block_limits({.transfer_max = 256, .unmap_blocks_max = 1024, .write_same_max = 2048});
    pages_[0xb2] = scsi::encode_vpd_provisioning({.unmap = true, .write_same_16 = true, .reads_zeroes = true});
    inquiry = {.vendor = "VENDOR", .product = "PRODUCT", .revision = "1"};
    capacity = {.last_lba = 2047, .block_bytes = 512, .physical_exponent = 3, .thin = true};
    mode = {.write_protected = false, .dpo_fua = true, .write_cache = false};
  }

  Identification::Outcome identify() {
    Identification identification;
    while (identification.next()) {
      const scsi::Cdb cdb = identification.next()->cdb;
      const auto command = scsi::parse_cdb(cdb.view());
      if (const auto refused = refusals.find(std::to_integer<int>(cdb.bytes[0])); refused != refusals.end()) {
        const scsi::Sense sense = refused->second;
        if (attentions > 0 && --attentions == 0) refusals.erase(refused);
        if (on_attention) on_attention();
        identification.answer(scsi::Status::check_condition, sense, {});
        continue;
      }
      const auto* asked_groups = std::get_if<scsi::ReportTargetPortGroups>(&*command);
      if (asked_groups != nullptr && asked_groups->extended && !knows_extended) {
        identification.answer(scsi::Status::check_condition, {scsi::SenseKey::illegal_request, 0x24, 0}, {});
        continue;
      }
      scsi::Bytes data = answer(*command);
      data.resize(std::min<std::size_t>(data.size(), identification.next()->length));
      identification.answer(scsi::Status::good, {}, data);
    }
    return identification.outcome();
  }

  scsi::Bytes answer(const scsi::Command& command) {
    if (const auto* asked = std::get_if<scsi::Inquiry>(&command)) {
      return asked->evpd ? pages_[asked->page] : scsi::encode_inquiry(inquiry);
    }
    if (std::holds_alternative<scsi::ReadCapacity16>(command)) return scsi::encode_capacity_16(capacity);
    if (std::holds_alternative<scsi::ReadCapacity10>(command)) return scsi::encode_capacity_10(capacity);
    if (std::holds_alternative<scsi::ModeSense>(command)) return scsi::encode_mode_sense(mode, true);
    if (const auto* asked = std::get_if<scsi::ReportTargetPortGroups>(&command)) {
      return asked->extended ? scsi::encode_port_groups_extended(groups, transition_seconds) : scsi::encode_port_groups(groups);
    }
    return {};
  }

  std::map<std::uint8_t, scsi::Bytes> pages_;
  scsi::InquiryData inquiry;
  scsi::Capacity capacity;
  scsi::ModeData mode;
  std::map<int, scsi::Sense> refusals;  // by opcode
  int attentions = 0;                   // how many times the refusal lasts; 0: for ever
  std::function<void()> on_attention;   // at each refusal
  std::vector<scsi::PortGroup> groups;
  std::uint8_t transition_seconds = 7;
  bool knows_extended = true;
};

using Kind = Identification::Outcome::Kind;

TEST(Identification, ReadsAllThereIsToKnow) {
  const auto outcome = Unit{}.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  const LuFacts& facts = outcome.facts;
  EXPECT_EQ(facts.wwid, "361111111111111111111111111111111");
  EXPECT_EQ(facts.vendor + facts.product + facts.revision, "VENDORPRODUCT1");
  EXPECT_EQ(facts.serial, "serial-1");
  EXPECT_EQ(facts.size_bytes, 2048U * 512);
  EXPECT_EQ(facts.physical_block_size, 4096U);
  EXPECT_TRUE(facts.fua && facts.thin && facts.unmap && facts.write_same_unmap && facts.reads_zero);
  EXPECT_FALSE(facts.write_cache || facts.read_only);
  EXPECT_EQ(facts.transfer_blocks_max, 256U);
  EXPECT_EQ(facts.unmap_blocks_max, 1024U);
  EXPECT_EQ(facts.write_same_blocks_max, 2048U);
}

TEST(Identification, AsksNotForPagesThatAreNotListed) {
  Unit unit;
  unit.pages_[0x00] = scsi::encode_vpd_supported(std::vector<std::uint8_t>{0x00, 0x83});
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_EQ(outcome.facts.serial, "");
  EXPECT_FALSE(outcome.facts.unmap);
}

TEST(Identification, DoesWithoutWhatAnOldTargetRefuses) {
  Unit unit;
  const scsi::Sense unknown{scsi::SenseKey::illegal_request, 0x20, 0};
  unit.refusals[0x9e] = unknown;  // READ CAPACITY(16)
  unit.refusals[0x1a] = unknown;  // MODE SENSE(6)
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_EQ(outcome.facts.size_bytes, 2048U * 512);
  EXPECT_TRUE(outcome.facts.write_cache);
}

TEST(Identification, TakesUnitAttentionsOff) {
  Unit unit;
  unit.refusals[0x00] = {scsi::SenseKey::unit_attention, 0x29, 0};
  unit.attentions = 3;
  EXPECT_EQ(unit.identify().kind, Kind::known);
}

TEST(Identification, GivesUpOnUnitAttentionsWithoutEnd) {
  Unit unit;
  unit.refusals[0x00] = {scsi::SenseKey::unit_attention, 0x29, 0};
  EXPECT_EQ(unit.identify().kind, Kind::failed);
}

TEST(Identification, TellsHowAPathThatIsNotReadyLooks) {
  Unit unit;
  unit.refusals[0x00] = {scsi::SenseKey::not_ready, 0x04, 0x01};
  const auto outcome = unit.identify();
  EXPECT_EQ(outcome.kind, Kind::failed);
  EXPECT_EQ(outcome.checker, CheckerState::faulty);
}

// By 83h, which tells the port group of the path, and REPORT TARGET PORT GROUPS.
class IdentificationOfAPortGroup : public testing::Test {
 protected:
  IdentificationOfAPortGroup() {
    unit.inquiry.tpgs = 1;
    const auto page = scsi::decode_vpd_device_id(unit.pages_[0x83]);
    auto designators = page->designators;
    designators.push_back({.association = scsi::Association::target_port,
                           .type = DesignatorType::target_port_group,
                           .bytes = {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{2}}});
    unit.pages_[0x83] = scsi::encode_vpd_device_id(designators);
  }
  void standby(std::uint8_t ascq = 0x0b) {
    unit.refusals[0x00] = unit.refusals[0x9e] = {scsi::SenseKey::not_ready, 0x04, ascq};
  }
  Unit unit;
};

TEST_F(IdentificationOfAPortGroup, ReadsItsState) {
  unit.groups = {{.id = 1, .state = scsi::AccessState::standby}, {.id = 2, .state = scsi::AccessState::non_optimized}};
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_TRUE(outcome.sized);
  EXPECT_TRUE(outcome.facts.alua);
  EXPECT_EQ(outcome.port_group, 2U);
  EXPECT_EQ(outcome.checker, CheckerState::ready);
  ASSERT_TRUE(outcome.report);
  EXPECT_EQ(outcome.report->groups, unit.groups);
  EXPECT_EQ(outcome.report->transition_seconds, unit.transition_seconds);
}

TEST_F(IdentificationOfAPortGroup, AsksInTheOldWayWhereTheNewOneIsRefused) {
  unit.groups = {{.id = 2}};
  unit.knows_extended = false;
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  ASSERT_TRUE(outcome.report);
  EXPECT_FALSE(outcome.extended_report);
}

TEST_F(IdentificationOfAPortGroup, InStandbyIsKnownByItsName) {
  unit.groups = {{.id = 1}, {.id = 2, .state = scsi::AccessState::standby}};
  standby();
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_FALSE(outcome.sized);
  EXPECT_FALSE(outcome.facts.wwid.empty());
  EXPECT_EQ(outcome.checker, CheckerState::ghost);
}

TEST_F(IdentificationOfAPortGroup, InTransitionToo) {
  unit.groups = {{.id = 2, .state = scsi::AccessState::transitioning}};
  standby(0x0a);
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_EQ(outcome.checker, CheckerState::pending);
}

TEST_F(IdentificationOfAPortGroup, UnavailableIsAFailureAndStillTold) {
  unit.groups = {{.id = 2, .state = scsi::AccessState::unavailable}};
  standby(0x0c);
  const auto outcome = unit.identify();
  EXPECT_EQ(outcome.kind, Kind::failed);
  EXPECT_EQ(outcome.checker, CheckerState::faulty);
  EXPECT_TRUE(outcome.report);
}

TEST_F(IdentificationOfAPortGroup, InStandbyThoughItTellsItsCapacity) {
  unit.groups = {{.id = 2, .state = scsi::AccessState::standby}};
  unit.refusals[0x00] = {scsi::SenseKey::not_ready, 0x04, 0x0b};
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_TRUE(outcome.sized);
  EXPECT_EQ(outcome.checker, CheckerState::ghost);
}

// The state that was read is of yesterday when a later command is told that states have changed.
TEST_F(IdentificationOfAPortGroup, BeginsAnewWhenStatesChangeMeanwhile) {
  unit.groups = {{.id = 2, .state = scsi::AccessState::standby}};
  unit.refusals[0x9e] = {scsi::SenseKey::unit_attention, 0x2a, 0x06};
  unit.attentions = 1;
  unit.on_attention = [this] { unit.groups[0].state = scsi::AccessState::optimized; };
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_EQ(outcome.checker, CheckerState::ready);
}

TEST(Identification, WithoutPortGroupsStandbyIsWhatTheTargetSays) {
  Unit unit;
  unit.refusals[0x00] = unit.refusals[0x9e] = {scsi::SenseKey::not_ready, 0x04, 0x0b};
  const auto outcome = unit.identify();
  ASSERT_EQ(outcome.kind, Kind::known);
  EXPECT_FALSE(outcome.sized);
  EXPECT_FALSE(outcome.port_group);
  EXPECT_EQ(outcome.checker, CheckerState::ghost);
}

TEST(Identification, FailsWithoutAnIdentityOrACapacity) {
  Unit no_name;
  no_name.pages_[0x83] = scsi::encode_vpd_device_id(std::vector<Designator>{});
  EXPECT_EQ(no_name.identify().kind, Kind::failed);
  Unit odd_blocks;
  odd_blocks.capacity.block_bytes = 520;
  EXPECT_EQ(odd_blocks.identify().kind, Kind::failed);
  Unit no_capacity;
  no_capacity.refusals[0x9e] = no_capacity.refusals[0x25] = {scsi::SenseKey::illegal_request, 0x20, 0};
  EXPECT_EQ(no_capacity.identify().kind, Kind::failed);
}

TEST(Identification, KnowsWhatIsNoDisk) {
  Unit controller;
  controller.inquiry.type = 0x0c;
  EXPECT_EQ(controller.identify().kind, Kind::not_a_disk);
  Unit nothing;
  nothing.inquiry.qualifier = 3;
  EXPECT_EQ(nothing.identify().kind, Kind::not_a_disk);
}

}  // namespace
}  // namespace mpath
