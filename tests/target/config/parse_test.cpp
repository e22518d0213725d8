// mptarget.conf as a whole: what it means, and every way to be wrong.
#include "target/config/parse.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "target/config/secrets.hpp"
#include "target/config/settings_table.hpp"

namespace mpath::target {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::expected<std::string, std::string> secrets(const std::string& path) {
  if (path == "/secret") return "from-a-file-12";
  return std::unexpected(path + ": No such file or directory");
}

ParsedConfig parse(std::string_view text, bool others_read = false) {
  const std::vector<ConfigFile> files{
      {.name = "mptarget.conf", .text = std::string(text), .managed = false, .others_read = others_read}};
  return parse_targetd_config(files, secrets);
}

std::vector<std::string> problems(std::string_view text) {
  std::vector<std::string> lines;
  for (const ConfigProblem& problem : parse(text).problems) lines.push_back(problem.text());
  return lines;
}

constexpr std::string_view whole = R"(
global { shards 3; login_timeout 20s }
discovery { incoming_user finder "a secret of words" }
account alice { secret wonderland-12 }
account target { secret_file /secret }
portal_group 1 {
  portal 10.0.1.1        # the first NIC
  portal [fd00::1]:3261
}
portal_group 2 { portal 10.0.2.1; relative_id 7
  alua_group 9 }
lu disk {
  path /srv/disk.img
  size 10G
  create yes
  block_size 4096
  threshold 80
  uuid 6f1c2b3a-1111-4222-8333-444455556666
}
lu fast { type null; size 1T }
target iqn.2026-01.org.example:one {
  alias "one for all"
  lun 0 disk
  lun 5 fast
  portal_group 2
  incoming_user alice
  incoming_user bob     0x0102030405060708090a0b0c
  outgoing_user target
  allow_initiator iqn.1994-05.com.example:*
  allow_address 10.0.0.0/8
  MaxBurstLength 131072
  initialr2t Yes
  HeaderDigest CRC32C,None
  queue_depth 64
  redirect temporary 10.0.2.9:3260,1
}
)";

TEST(TargetConfig, ReadsAWholeFile) {
  const ParsedConfig parsed = parse(whole);
  ASSERT_THAT(parsed.problems, IsEmpty());
  const TargetdConfig& config = parsed.config;
  EXPECT_EQ(config.shards, 3U);
  EXPECT_EQ(config.login.login_timeout, std::chrono::seconds(20));
  ASSERT_EQ(config.discovery.incoming.size(), 1U);
  EXPECT_EQ(config.discovery.incoming[0].secret, "a secret of words");
  ASSERT_EQ(config.portal_groups.size(), 2U);
  EXPECT_THAT(config.portal_groups[0].portals, ElementsAre(Portal{"10.0.1.1", 3260}, Portal{"fd00::1", 3261}));
  EXPECT_EQ(config.portal_groups[0].relative_id, 1);
  EXPECT_EQ(config.portal_groups[1].relative_id, 7);
  EXPECT_EQ(config.portal_groups[1].alua_group, 9);
  ASSERT_EQ(config.units.size(), 2U);
  EXPECT_EQ(config.units[0].store.size_bytes, std::uint64_t{10} << 30);
  EXPECT_EQ(config.units[0].unit.physical_exponent, 0);
  EXPECT_EQ(config.units[0].unit.threshold_percent, 80U);
  EXPECT_EQ(format_uuid(config.units[0].unit.uuid), "6f1c2b3a-1111-4222-8333-444455556666");
  EXPECT_EQ(config.units[1].store.kind, StoreKind::null);
  ASSERT_EQ(config.targets.size(), 1U);
  const TargetConfig& target = config.targets[0];
  EXPECT_EQ(target.alias, "one for all");
  EXPECT_EQ(target.luns, (std::map<std::uint64_t, std::string>{{0, "disk"}, {5, "fast"}}));
  EXPECT_THAT(target.portal_groups, ElementsAre(2));
  ASSERT_EQ(target.authentication.incoming.size(), 2U);
  EXPECT_EQ(target.authentication.incoming[0].secret, "wonderland-12");
  EXPECT_EQ(target.authentication.incoming[1].secret, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c");
  EXPECT_EQ(target.authentication.outgoing->secret, "from-a-file-12");
  EXPECT_EQ(target.wishes.max_burst, 131072U);
  EXPECT_EQ(target.wishes.first_burst, 131072U) << "held to max_burst";
  EXPECT_TRUE(target.wishes.initial_r2t);
  EXPECT_EQ(target.wishes.header_digests, "CRC32C,None");
  EXPECT_EQ(target.window, 64U);
  EXPECT_EQ(target.redirect, Redirect::temporary);
  EXPECT_EQ(target.redirect_to.host, "10.0.2.9");
}

TEST(TargetConfig, AnEmptyFileListensEverywhereAndServesNothing) {
  const ParsedConfig parsed = parse("");
  EXPECT_THAT(parsed.problems, IsEmpty());
  ASSERT_EQ(parsed.config.portal_groups.size(), 1U);
  EXPECT_THAT(parsed.config.portal_groups[0].portals, ElementsAre(Portal{"0.0.0.0", 3260}));
  EXPECT_THAT(parsed.config.targets, IsEmpty());
}

TEST(TargetConfig, TakesTheLunLinesOfIetd) {
  const ParsedConfig parsed = parse(
      "target iqn.2001-04.com.example:storage {\n Lun 0 Path=/srv/a.img,Type=fileio,IOMode=wt\n"
      " Lun 1 Path=/dev/sdx,Type=blockio,IOMode=ro\n Lun 2 Sectors=2048,Type=nullio\n Wthreads 8\n}\n");
  ASSERT_FALSE(has_errors(parsed.problems));
  ASSERT_EQ(parsed.config.units.size(), 3U);
  EXPECT_EQ(parsed.config.units[0].name, "storage-lun0");
  EXPECT_FALSE(parsed.config.units[0].unit.write_cache);
  EXPECT_EQ(parsed.config.units[1].store.kind, StoreKind::block);
  EXPECT_TRUE(parsed.config.units[1].store.read_only);
  EXPECT_EQ(parsed.config.units[2].store.size_bytes, 1U << 20);
  EXPECT_EQ(parsed.config.targets[0].luns.at(2), "storage-lun2");
  ASSERT_EQ(parsed.problems.size(), 1U);
  EXPECT_EQ(parsed.problems[0].text(), "mptarget.conf:5: \"Wthreads\" has no effect here");
}

struct Wrong {
  const char* name;
  const char* text;
  const char* says;
};
void PrintTo(const Wrong& wrong, std::ostream* out) {
  *out << wrong.name;
}

class WrongConfig : public testing::TestWithParam<Wrong> {};
TEST_P(WrongConfig, IsRefusedWithFileAndLine) {
  const ParsedConfig parsed = parse(GetParam().text);
  EXPECT_TRUE(has_errors(parsed.problems));
  EXPECT_THAT(problems(GetParam().text), testing::Contains(HasSubstr(GetParam().says)));
}

#define TARGET "target iqn.2026-01.org.example:x "
INSTANTIATE_TEST_SUITE_P(
    Rows, WrongConfig,
    testing::Values(
        Wrong{"unknown_section", "clutter { a 1 }", "mptarget.conf:1: unknown section \"clutter\""},
        Wrong{"unknown_key", "\nlu a { pth /x }", "mptarget.conf:2: "},
        Wrong{"no_label", "lu { type ram; size 1M }", "mptarget.conf:1: a lu has a name"},
        Wrong{"label_too_many", "global x { shards 1 }", "mptarget.conf:1: global has no name"},
        Wrong{"twice", "lu a { type ram; size 1M }\nlu a { type ram; size 1M }",
              "mptarget.conf:2: lu a stands at mptarget.conf:1 already"},
        Wrong{"key_twice", "lu a {\n type ram\n size 1M\n size 2M\n}",
              "mptarget.conf:4: size stands at mptarget.conf:3 already"},
        Wrong{"unit_name", "lu ../a { type ram; size 1M }", "is no name for a unit"},
        Wrong{"no_path", "lu a { type file }", "needs a path that begins with /"},
        Wrong{"no_size", "lu a { type ram }", "lu a of type ram needs a size"},
        Wrong{"odd_size", "lu a { type ram; size 1000 }", "no multiple of the block"},
        Wrong{"create_without_size", "lu a { path /x\n create yes }", "a file that is made needs a size"},
        Wrong{"no_medium_fixed", "lu a { type ram; size 1M\n no_medium yes }", "only a removable unit"},
        Wrong{"same_file", "lu a { path /x/y }\nlu b { path /x/./y }", "mptarget.conf:2: lu a holds /x/./y too"},
        Wrong{"bad_uuid", "lu a { type ram; size 1M\n uuid 12 }", "mptarget.conf:2: this is no UUID"},
        Wrong{"bad_drill", "lu a { type ram; size 1M\n drill nonsense }", "mptarget.conf:2: "},
        Wrong{"physical", "lu a { type ram; size 1M\n physical_block 5000 }", "power of two"},
        Wrong{"bad_iqn", "target Disk { alias x }", "mptarget.conf:1: \"Disk\" is no iSCSI name"},
        Wrong{"no_such_lu", TARGET "{\n lun 0 nothing\n}", "mptarget.conf:2: there is no lu nothing"},
        Wrong{"lun_number", TARGET "{\n lun 99999 a\n}", "lun takes a number up to 16383"},
        Wrong{"lun_twice", "lu a { type ram; size 1M }\nlu b { type ram; size 1M }\n" TARGET "{\n lun 0 a\n lun 0 b\n}",
              "mptarget.conf:5: LUN 0 is there already"},
        Wrong{"unit_twice", "lu a { type ram; size 1M }\n" TARGET "{\n lun 0 a\n lun 1 a\n}",
              "lu a is LUN 0 of the same target already"},
        Wrong{"no_such_group", TARGET "{\n portal_group 4\n}", "mptarget.conf:2: there is no portal_group 4"},
        Wrong{"short_secret", TARGET "{\n incoming_user joe tooshort\n}",
              "the secret has 8 bytes: at least 12 are needed"},
        Wrong{"equal_secrets", TARGET "{\n incoming_user joe equal-secret\n outgoing_user us equal-secret\n}",
              "the secrets of incoming_user joe and outgoing_user us are equal"},
        Wrong{"only_outgoing", TARGET "{\n outgoing_user us equal-secret\n}",
              "an outgoing_user without an incoming_user"},
        Wrong{"no_such_account", TARGET "{\n incoming_user joe\n}", "there is no account joe"},
        Wrong{"account_of_nothing", "account joe { }", "account joe needs one of secret and secret_file"},
        Wrong{"secret_file", "account joe { secret_file /nowhere }", "/nowhere: No such file or directory"},
        Wrong{"bad_binary", TARGET "{\n incoming_user joe 0xzzzz\n}", "begins like a binary value and is none"},
        Wrong{"portal_name", "portal_group 1 { portal example.org }", "no ADDRESS[:PORT]"},
        Wrong{"portal_twice", "portal_group 1 { portal 10.0.0.1 }\nportal_group 2 { portal 10.0.0.1:3260 }",
              "mptarget.conf:2: portal 10.0.0.1:3260 of group 2 overlaps 10.0.0.1:3260 (mptarget.conf:1)"},
        Wrong{"portal_any", "portal_group 1 { portal 0.0.0.0 }\nportal_group 2 { portal 10.0.0.1 }",
              "overlaps 0.0.0.0:3260"},
        Wrong{"group_zero", "portal_group 0 { portal 10.0.0.1 }", "portal_group 0: "},
        Wrong{"group_empty", "portal_group 1 { peer no }", "portal_group 1 has no portal"},
        Wrong{"relative_twice", "portal_group 1 { portal 10.0.0.1 }\nportal_group 2 { portal 10.0.0.2; relative_id 1 }",
              "relative_id"},
        Wrong{"bad_address", TARGET "{\n allow_address 10.0.0.0/33\n}", "is no address and no prefix"},
        Wrong{"bad_digest", TARGET "{\n header_digest CRC32\n}", "\"CRC32\" is none of None and CRC32C"},
        Wrong{"bad_redirect", TARGET "{\n redirect elsewhere 10.0.0.1\n}", "redirect takes temporary or permanent"},
        Wrong{"bad_algorithm", "discovery {\n chap_algorithms MD4\n}", "\"MD4\" is none of"},
        Wrong{"ietd_type", TARGET "{\n Lun 0 Path=/x,Type=cdrom\n}", "Type=cdrom is none of"},
        Wrong{"open_section", "lu a {\n type ram", "section \"lu\" is not closed"}),
    [](const auto& row) { return row.param.name; });

TEST(TargetConfig, WarnsOfSecretsThatOthersCanRead) {
  const auto parsed =
      parse("target iqn.2026-01.org.example:x {\n incoming_user joe joes-secret-12\n allow_address 10.0.0.1\n}", true);
  ASSERT_FALSE(has_errors(parsed.problems));
  EXPECT_THAT(parsed.problems[0].text(), HasSubstr("holds secrets and others may read it"));
}

TEST(TargetConfig, ShowsSettingsWithTheirOriginAndNoSecrets) {
  const auto parsed = parse("lu a {\n type ram\n size 1M\n}\naccount joe {\n secret joes-secret-12\n}\n");
  const std::string text = show_settings(parsed.objects);
  EXPECT_THAT(text, HasSubstr("lu a {  # mptarget.conf:1\n"));
  EXPECT_THAT(text, HasSubstr("  size 1M  # mptarget.conf:3\n"));
  EXPECT_THAT(text, HasSubstr("  block_size 512  # default\n"));
  EXPECT_THAT(text, HasSubstr("  secret ********  # mptarget.conf:6\n"));
  EXPECT_EQ(text.find("joes-secret"), text.npos);
}

TEST(TargetConfig, WhatIsShownIsReadBackTheSame) {
  const auto parsed = parse("lu a {\n type ram\n size 1M\n product \"a b\"\n}\n");
  const auto again = parse(show_settings(parsed.objects));
  ASSERT_FALSE(has_errors(again.problems)) << show_settings(parsed.objects);
  EXPECT_EQ(again.config.units[0].fingerprint, parsed.config.units[0].fingerprint);
}

TEST(SecretFile, IsReadOnlyWhenNobodyElseCan) {
  const auto file = std::filesystem::path(testing::TempDir()) / "secret";
  std::ofstream(file) << "a-secret-of-12+\n";
  std::filesystem::permissions(file, std::filesystem::perms(0600));
  EXPECT_EQ(read_secret_file(file.string()), "a-secret-of-12+");
  std::filesystem::permissions(file, std::filesystem::perms(0640));
  const auto refused = read_secret_file(file.string());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("chmod 0600"));
}

}  // namespace
}  // namespace mpath::target
