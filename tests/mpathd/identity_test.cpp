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
        identification.answer(scsi::Status::check_condition, sense, {});
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
    return {};
  }

  std::map<std::uint8_t, scsi::Bytes> pages_;
  scsi::InquiryData inquiry;
  scsi::Capacity capacity;
  scsi::ModeData mode;
  std::map<int, scsi::Sense> refusals;  // by opcode
  int attentions = 0;                   // how many times the refusal lasts; 0: for ever
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
  unit.refusals[0x00] = {scsi::SenseKey::not_ready, 0x04, 0x0b};
  const auto outcome = unit.identify();
  EXPECT_EQ(outcome.kind, Kind::failed);
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
