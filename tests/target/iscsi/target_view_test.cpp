#include "target/iscsi/target_view.hpp"

#include <gtest/gtest.h>

#include "target/iscsi/ip_address.hpp"

namespace mpath::target {
namespace {

struct PrefixRow {
  const char* prefix;
  const char* address;
  bool holds;
};
class PrefixTable : public testing::TestWithParam<PrefixRow> {};

TEST_P(PrefixTable, HoldsWhatItHolds) {
  const auto prefix = parse_ip_prefix(GetParam().prefix);
  const auto address = parse_ip_address(GetParam().address);
  ASSERT_TRUE(prefix && address);
  EXPECT_EQ(prefix->holds(*address), GetParam().holds);
}

INSTANTIATE_TEST_SUITE_P(
    All, PrefixTable,
    testing::Values(PrefixRow{"10.1.2.3", "10.1.2.3", true}, PrefixRow{"10.1.2.3", "10.1.2.4", false},
                    PrefixRow{"10.0.0.0/8", "10.255.0.1", true}, PrefixRow{"10.0.0.0/8", "11.0.0.1", false},
                    PrefixRow{"10.0.0.0/9", "10.127.0.1", true}, PrefixRow{"10.0.0.0/9", "10.128.0.1", false},
                    PrefixRow{"0.0.0.0/0", "203.0.113.9", true}, PrefixRow{"0.0.0.0/0", "fe80::1", false},
                    PrefixRow{"::/0", "fe80::1", true}, PrefixRow{"fe80::/10", "fe80::1%eth0", true},
                    PrefixRow{"fe80::/10", "fec0::1", false}, PrefixRow{"2001:db8::/127", "2001:db8::1", true},
                    PrefixRow{"2001:db8::/127", "2001:db8::2", false}, PrefixRow{"10.0.0.0/8", "::ffff:10.2.3.4", true},
                    PrefixRow{"10.1.2.3/32", "10.1.2.3", true}));

TEST(IpPrefix, OthersAreNone) {
  for (const char* text : {"", "/", "10.0.0.0/", "10.0.0.0/33", "fe80::/129", "10.0.0.0/-1", "10.0.0.0/8x", "10.0.0",
                           "host", "10.0.0.1/8/8", "10.0.0.1%eth0", "[::1]", ":::1"}) {
    EXPECT_FALSE(parse_ip_prefix(text)) << text;
  }
  EXPECT_FALSE(parse_ip_address(std::string(1000, '1')));
}

TEST(IpAddress, KnowsTheOnesThatMeanAll) {
  EXPECT_TRUE(parse_ip_address("0.0.0.0")->is_any());
  EXPECT_TRUE(parse_ip_address("::")->is_any());
  EXPECT_FALSE(parse_ip_address("0.0.0.0") == parse_ip_address("::"));
  EXPECT_FALSE(parse_ip_address("::1")->is_any());
  EXPECT_FALSE(parse_ip_address("127.0.0.1")->is_any());
}

TEST(AccessList, AllowsEverybodyWhenItIsEmpty) {
  EXPECT_TRUE(AccessList{}.allows("iqn.2026-01.org.example:a", "10.0.0.1"));
}

TEST(AccessList, AsksForNameAndAddress) {
  const AccessList list{.initiators = {"iqn.2026-01.org.example:a", "iqn.2026-01.org.example.lab:*"},
                        .addresses = {"10.0.0.0/8", "fe80::/10"}};
  EXPECT_TRUE(list.allows("iqn.2026-01.org.example:a", "10.1.1.1"));
  EXPECT_TRUE(list.allows("iqn.2026-01.org.example.lab:x", "fe80::2%eth0"));
  EXPECT_FALSE(list.allows("iqn.2026-01.org.example:a", "11.1.1.1"));
  EXPECT_FALSE(list.allows("iqn.2026-01.org.example:ab", "10.1.1.1"));
  EXPECT_FALSE(list.allows("iqn.2026-01.org.example:b", "10.1.1.1"));
  EXPECT_FALSE(list.allows("iqn.2026-01.org.example:a", "nonsense"));
}

TEST(AccessList, AnEntryThatCannotBeReadAllowsNobody) {
  const AccessList list{.addresses = {"10.0.0.0/99"}};
  EXPECT_FALSE(list.allows("iqn.2026-01.org.example:a", "10.0.0.0"));
}

TargetView target_with_groups() {
  TargetView target{.name = "iqn.2026-01.org.example:t"};
  target.groups = {{.tag = 1, .portals = {{.host = "0.0.0.0"}}},
                   {.tag = 2, .portals = {{.host = "10.0.0.2"}, {.host = "2001:db8::2", .port = 3261}}},
                   {.tag = 3, .portals = {{.host = "10.0.0.3"}}, .peer = true}};
  return target;
}

TEST(TargetView, FindsTheGroupOfAnAddress) {
  const TargetView target = target_with_groups();
  EXPECT_EQ(target.group_at("10.0.0.1", 3260)->tag, 1);
  EXPECT_EQ(target.group_at("10.0.0.2", 3260)->tag, 2);         // named, not only listened on
  EXPECT_EQ(target.group_at("2001:0db8::0002", 3261)->tag, 2);  // however it is written
  EXPECT_EQ(target.group_at("10.0.0.3", 3260)->tag, 1);         // the peer's groups are not served here
  EXPECT_EQ(target.group_at("2001:db8::2", 3260), nullptr);     // another port
  EXPECT_EQ(target.group_at("2001:db8::9", 3260), nullptr);     // 0.0.0.0 is not ::
  EXPECT_EQ(target.group_at("nonsense", 3260), nullptr);
}

TEST(TargetView, FindsGroupsAndUnitsByNumber) {
  TargetView target = target_with_groups();
  target.luns.push_back({.lun = {5}, .unit = nullptr});
  EXPECT_EQ(target.group(3)->tag, 3);
  EXPECT_EQ(target.group(4), nullptr);
  EXPECT_EQ(target.find(scsi::Lun{5}), &target.luns[0]);
  EXPECT_EQ(target.find(scsi::Lun{0}), nullptr);
}

TEST(TargetsView, FindsTargetsByName) {
  TargetsView targets;
  targets.targets.push_back(std::make_shared<TargetView>(target_with_groups()));
  EXPECT_EQ(targets.find("iqn.2026-01.org.example:t"), targets.targets[0]);
  EXPECT_EQ(targets.find("iqn.2026-01.org.example:"), nullptr);
}

}  // namespace
}  // namespace mpath::target
