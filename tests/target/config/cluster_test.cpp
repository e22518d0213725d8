// Section `cluster` of mptarget.conf and what belongs to it: what it means on each node, and every way to be wrong.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "target/config/parse.hpp"
#include "target/config/plan.hpp"

namespace mpath::target {
namespace {

using mpath::replication::Member;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::expected<std::string, std::string> key_at_key(const std::string& path) {
  if (path == "/key") return "0123456789abcdef0123456789abcdef";
  return std::unexpected(path + ": No such file or directory");
}

ParsedConfig parse(std::string_view text, const NodeChoice& choice = {.node = Member::a}) {
  const std::vector<ConfigFile> files{{.name = "c", .text = std::string(text)}};
  return parse_targetd_config(files, key_at_key, choice);
}

std::vector<std::string> problems(std::string_view text, const NodeChoice& choice = {.node = Member::a}) {
  std::vector<std::string> lines;
  for (const ConfigProblem& problem : parse(text, choice).problems) lines.push_back(problem.text());
  return lines;
}

constexpr std::string_view links = " key_file /key; address_a 10.1.0.1, 10.2.0.1; address_b 10.1.0.2, 10.2.0.2\n";
constexpr std::string_view rest =
    "portal_group 1 { portal 10.0.0.1; node a }\nportal_group 2 { portal 10.0.0.2; node b }\n"
    "lu disk { path /disk; uuid 6f1c2b3a-1111-4222-8333-444455556666; replicated yes }\n"
    "target iqn.2026-01.org.example:disk { lun 0 disk }\n";

// A pair in which everything is right, with `more` in its section.
std::string pair(std::string_view more = "") {
  return fmt::format("cluster store {{{} {}\n}}\n{}", links, more, rest);
}

TEST(ClusterConfig, HasDefaults) {
  const ParsedConfig parsed = parse(pair());
  ASSERT_THAT(problems(pair()), IsEmpty());
  ASSERT_TRUE(parsed.config.cluster);
  const ClusterConfig& cluster = *parsed.config.cluster;
  EXPECT_EQ(cluster.name, "store");
  EXPECT_EQ(cluster.self, Member::a);
  EXPECT_EQ(cluster.key_file, "/key");
  EXPECT_THAT(cluster.addresses_of(Member::a), ElementsAre(Portal{"10.1.0.1", 7788}, Portal{"10.2.0.1", 7788}));
  EXPECT_THAT(cluster.addresses_of(Member::b), ElementsAre(Portal{"10.1.0.2", 7788}, Portal{"10.2.0.2", 7788}));
  EXPECT_THAT(cluster.addresses_of(Member::witness), IsEmpty());
  EXPECT_EQ(cluster.on_peer_loss, replication::PeerLoss::freeze);
  EXPECT_EQ(cluster.auto_failback, AutoFailback::off);
  EXPECT_EQ(cluster.lease, std::chrono::milliseconds(400));
  EXPECT_TRUE(parsed.config.units[0].replicated);
  // What the agreement does by itself, and what stands in the table, are the same.
  const replication::NodeOptions given = node_options(cluster);
  const replication::NodeOptions built_in;
  EXPECT_FALSE(given.witness);
  EXPECT_EQ(given.keepalive, built_in.keepalive);
  EXPECT_EQ(given.deadtime, built_in.deadtime);
  EXPECT_EQ(given.initdead, built_in.initdead);
  EXPECT_EQ(given.lease, built_in.lease);
  EXPECT_DOUBLE_EQ(given.drift, built_in.drift);
}

TEST(ClusterConfig, ReadsEverySetting) {
  const std::string text =
      pair(
          " witness 10.1.0.3:9999, [fd00::3]\n keepalive 200ms; warntime 500ms; deadtime 1s; initdead 20s; lease "
          "600ms\n"
          " drift 5; fence_timeout 3s; auto_failback when-synced; preferred b; virtual_ip 10.0.0.10/24 dev eth0\n"
          " virtual_ip fd00:1::10/64\n resync_rate_max 100M; resync_rate_min 1M; protocol A; send_window 1M; "
          "verify_interval 24h\n"
          " disk_timeout 3s; stream_auth hmac-sha256\n") +
      "portal_group 3 { portal 10.0.0.10; portal [fd00:1::10]; virtual yes }\n";
  ASSERT_THAT(problems(text),
              ElementsAre(HasSubstr("a takeover may lose the last answered writes that were not flushed, "
                                    "1M of each lu at most")));
  const TargetdConfig config = parse(text).config;
  const ClusterConfig& cluster = *config.cluster;
  EXPECT_EQ(cluster.protocol, mpath::replication::Protocol::a);
  EXPECT_EQ(cluster.send_window_bytes, 1U << 20);
  EXPECT_THAT(cluster.witness, ElementsAre(Portal{"10.1.0.3", 9999}, Portal{"fd00::3", 7788}));
  EXPECT_EQ(cluster.keepalive, std::chrono::milliseconds(200));
  EXPECT_EQ(cluster.warntime, std::chrono::milliseconds(500));
  EXPECT_EQ(cluster.deadtime, std::chrono::seconds(1));
  EXPECT_EQ(cluster.initdead, std::chrono::seconds(20));
  EXPECT_EQ(cluster.lease, std::chrono::milliseconds(600));
  EXPECT_EQ(cluster.drift_percent, 5U);
  EXPECT_EQ(cluster.fence_timeout, std::chrono::seconds(3));
  EXPECT_EQ(cluster.auto_failback, AutoFailback::on);
  EXPECT_EQ(cluster.preferred, Member::b);
  ASSERT_EQ(cluster.virtual_ips.size(), 2U);
  EXPECT_EQ(cluster.virtual_ips[0].address, "10.0.0.10");
  EXPECT_EQ(cluster.virtual_ips[0].prefix, 24U);
  EXPECT_EQ(cluster.virtual_ips[0].interface, "eth0");
  EXPECT_EQ(cluster.virtual_ips[1].interface, "");
  EXPECT_EQ(cluster.resync_bytes_per_second_max, std::uint64_t{100} << 20);
  EXPECT_EQ(cluster.verify_interval, std::chrono::hours(24));
  EXPECT_EQ(cluster.disk_timeout, std::chrono::seconds(3));
  EXPECT_EQ(cluster.stream_auth, mpath::replication::StreamAuth::hmac);
  EXPECT_TRUE(node_options(cluster).witness);
  EXPECT_TRUE(config.portal_groups[2].is_virtual);
  EXPECT_TRUE(config.portal_groups[2].portals[0].moving) << "listened on before the address is there";
  EXPECT_FALSE(config.portal_groups[0].portals[0].moving);
  EXPECT_FALSE(config.portal_groups[2].peer);
}

TEST(ClusterConfig, KnowsHowStreamsAreProtected) {
  using mpath::replication::StreamAuth;
  EXPECT_EQ(parse(pair("")).config.cluster->stream_auth, StreamAuth::none);
  for (const StreamAuth auth : {StreamAuth::none, StreamAuth::hmac, StreamAuth::tls}) {
    EXPECT_EQ(parse(pair(std::string(" stream_auth ") + name(auth) + "\n")).config.cluster->stream_auth, auth);
  }
  EXPECT_THAT(problems(pair(" stream_auth ssl\n")), testing::Not(IsEmpty()));
}

// The file is the same; the other node's groups are a peer's.
TEST(ClusterConfig, IsSeenFromEachNode) {
  for (const Member self : {Member::a, Member::b}) {
    const TargetdConfig config = parse(pair(), {.node = self}).config;
    EXPECT_EQ(config.cluster->self, self);
    EXPECT_EQ(config.portal_groups[0].peer, self == Member::b);
    EXPECT_EQ(config.portal_groups[1].peer, self == Member::a);
    EXPECT_EQ(config.portal_groups[0].node, Member::a);
  }
}

TEST(ClusterConfig, StandsAnywhereInTheFiles) {
  const std::string text = fmt::format("{}cluster store {{{}}}\n", rest, links);
  EXPECT_THAT(problems(text, {.node = Member::b}), IsEmpty());
  EXPECT_TRUE(parse(text, {.node = Member::b}).config.portal_groups[0].peer);
}

struct Choice {
  const char* name;
  const char* lines;
  NodeChoice choice;
  const char* found;  // "a", "b", or the problem
};
class WhichNode : public testing::TestWithParam<Choice> {};
TEST_P(WhichNode, IsFound) {
  const ParsedConfig parsed = parse(pair(GetParam().lines), GetParam().choice);
  const std::string found = GetParam().found;
  if (found.size() == 1) {
    ASSERT_THAT(problems(pair(GetParam().lines), GetParam().choice), IsEmpty());
    EXPECT_EQ(mpath::replication::name(parsed.config.cluster->self), found);
  } else {
    EXPECT_THAT(problems(pair(GetParam().lines), GetParam().choice), Contains(HasSubstr(found)));
  }
}
constexpr const char* hosts = " host_a alpha; host_b beta.example.org\n";
INSTANTIATE_TEST_SUITE_P(
    ClusterConfig, WhichNode,
    testing::Values(Choice{"option", "", {Member::b, ""}, "b"}, Choice{"key", " node b\n", {{}, ""}, "b"},
                    Choice{"option_before_key", " node b\n", {Member::a, ""}, "a"},
                    Choice{"option_before_host", hosts, {Member::b, "alpha"}, "b"},
                    Choice{"host", hosts, {{}, "alpha"}, "a"}, Choice{"host_in_domain", hosts, {{}, "Alpha.lan"}, "a"},
                    Choice{"host_short", hosts, {{}, "beta"}, "b"},
                    Choice{"host_whole", hosts, {{}, "beta.example.org"}, "b"},
                    Choice{"other_domain", hosts, {{}, "beta.example.com"}, "this one is beta.example.com"},
                    Choice{"nothing", "", {{}, "gamma"}, "Start mptargetd with --node a or --node b"},
                    Choice{"both", " host_a x; host_b x\n", {{}, "x"}, "host_a and host_b both are this host, x"}),
    [](const auto& row) { return row.param.name; });

struct Row {
  const char* name;
  const char* lines;  // in the section
  const char* problem;
};
class ClusterProblem : public testing::TestWithParam<Row> {};
TEST_P(ClusterProblem, IsNamed) {
  EXPECT_THAT(problems(pair(GetParam().lines)), Contains(HasSubstr(GetParam().problem)));
}
INSTANTIATE_TEST_SUITE_P(
    ClusterConfig, ClusterProblem,
    testing::Values(
        Row{"uneven", " address_b 10.3.0.2\n", "node a has 2 addresses and node b 3"},
        Row{"bad_address", " address_a example.org\n", "address_a: \"example.org\" is no ADDRESS[:PORT]"},
        Row{"any_address", " address_a 0.0.0.0\n", "a certain address and port"},
        Row{"port_zero", " address_a 10.3.0.1:0\n", "a certain address and port"},
        Row{"twice", " witness 10.1.0.1\n", "10.1.0.1:7788 stands here twice"},
        Row{"witness_links", " witness 10.1.0.3, 10.2.0.3, 10.3.0.3\n", "the witness has 3 addresses on 2 links"},
        Row{"etcd_name", " witness etcd://example.org:2379\n", "witness: \"example.org:2379\" is no ADDRESS[:PORT]"},
        Row{"etcd_twice", " witness etcd://10.0.0.9, 10.0.0.9:2379\n", "10.0.0.9:2379 stands here twice"},
        Row{"loss_with_etcd", " witness etcd://10.0.0.9\n on_peer_loss continue\n", "no effect with a witness"},
        Row{"keepalive", " keepalive 300ms\n", "c:2: keepalive (300ms) must be shorter than warntime (300ms)"},
        Row{"warntime", " warntime 600ms\n", "warntime (600ms) must be shorter than deadtime (600ms)"},
        Row{"initdead", " initdead 500ms\n", "initdead (500ms) must not be shorter than deadtime (600ms)"},
        Row{"lease_long", " lease 600ms\n", "lease (600ms) must be shorter than deadtime (600ms)"},
        Row{"lease_short", " lease 150ms\n", "lease (150ms) must be at least twice keepalive (100ms)"},
        Row{"fence_without", " on_peer_loss fence\n", "on_peer_loss fence needs fence /PATH/OF/A/COMMAND"},
        Row{"fence_relative", " on_peer_loss fence\n fence off.sh\n", "needs fence /PATH/OF/A/COMMAND"},
        Row{"fence_unused", " fence /bin/off\n", "fence has no effect"},
        Row{"loss_with_witness", " witness 10.1.0.3\n on_peer_loss continue\n", "no effect with a witness"},
        Row{"continue", " on_peer_loss continue\n", "one side's writes will be lost"},
        Row{"loss_word", " on_peer_loss panic\n", "is not one of freeze, fence, continue"},
        Row{"failback", " auto_failback on\n", "preferred a or preferred b is needed"},
        Row{"preferred", " preferred c\n", "is not one of a, b"},
        Row{"vip_prefix", " virtual_ip 10.0.0.10\n", "the prefix is missing"},
        Row{"vip_address", " virtual_ip store/24\n", "\"store\" is no address"},
        Row{"vip_long", " virtual_ip 10.0.0.10/33\n", "virtual_ip takes ADDRESS/PREFIX [dev INTERFACE]: "},
        Row{"vip_words", " virtual_ip 10.0.0.10/24 eth0\n", "\"10.0.0.10/24 eth0\" is something else"},
        Row{"vip_interface", " virtual_ip 10.0.0.10/24 dev abcdefghijklmnop\n", "is no name of an interface"},
        Row{"vip_twice", " virtual_ip 10.0.0.10/24\n virtual_ip 10.0.0.10/24\n", "10.0.0.10 stands at c:2 already"},
        Row{"vip_member", " virtual_ip 10.1.0.1/24\n", "is a member's own address"},
        Row{"vip_unused", " virtual_ip 10.0.0.10/24\n", "nothing is served on the virtual IP"},
        Row{"rates", " resync_rate_max 1M; resync_rate_min 2M\n", "resync_rate_min is more than resync_rate_max"},
        Row{"protocol", " protocol D\n", "is not one of C, B, A"},
        Row{"protocol_a", " protocol A\n", "a takeover may lose the last answered writes"},
        Row{"window", " send_window 1M\n", "send_window has no effect with protocol C"},
        Row{"unknown", " dead_time 1s\n", "did you mean \"deadtime\"?"}),
    [](const auto& row) { return row.param.name; });

class WholeProblem : public testing::TestWithParam<Row> {};
TEST_P(WholeProblem, IsNamed) {
  EXPECT_THAT(problems(GetParam().lines), Contains(HasSubstr(GetParam().problem)));
}
#define LINKS " key_file /key; address_a 10.1.0.1, 10.2.0.1; address_b 10.1.0.2, 10.2.0.2\n"
#define GROUPS "portal_group 1 { portal 10.0.0.1; node a }\nportal_group 2 { portal 10.0.0.2; node b }\n"
#define UUID "uuid 6f1c2b3a-1111-4222-8333-444455556666"
INSTANTIATE_TEST_SUITE_P(
    ClusterConfig, WholeProblem,
    testing::Values(
        Row{"no_name", "cluster { node a }\n" GROUPS, "a cluster has a name"},
        Row{"bad_name", "cluster a/b {" LINKS "}\n" GROUPS, "is no name for a cluster"},
        Row{"two", "cluster x {" LINKS "}\ncluster y {" LINKS "}\n" GROUPS, "cluster x stands at c:1 already"},
        Row{"no_key", "cluster x { address_a 10.1.0.1; address_b 10.1.0.2 }\n" GROUPS, "openssl rand -hex 32"},
        Row{"lost_key", "cluster x { key_file /nokey; address_a 10.1.0.1; address_b 10.1.0.2 }\n" GROUPS,
            "c:1: /nokey: No such file"},
        Row{"no_links", "cluster x { key_file /key }\n" GROUPS, "cluster x needs address_a and address_b"},
        Row{"one_link", "cluster x { key_file /key; address_a 10.1.0.1; address_b 10.1.0.2 }\n" GROUPS,
            "a pulled cable looks like a dead node"},
        Row{"no_groups", "cluster x {" LINKS "}\n", "a pair needs portal groups that say whose they are"},
        Row{"group_of_nobody", "cluster x {" LINKS "}\nportal_group 1 { portal 10.0.0.1 }\n",
            "portal_group 1 of a pair: node a, node b, or virtual yes?"},
        Row{"node_and_peer", "cluster x {" LINKS "}\nportal_group 1 { portal 10.0.0.1; node b; peer yes }\n",
            "node says whose the group is: not peer"},
        Row{"node_and_virtual", "cluster x {" LINKS "}\nportal_group 1 { portal 10.0.0.1; node b; virtual yes }\n",
            "not with node or peer"},
        Row{"half", "cluster x {" LINKS "}\nportal_group 1 { portal 10.0.0.1; node a }\n",
            "node b has no portal_group: portal_group TAG { portal ADDRESS; node b }"},
        Row{"not_virtual", "cluster x {" LINKS "}\n" GROUPS "portal_group 3 { portal 10.0.0.9; virtual yes }\n",
            "portal_group 3 is virtual, and 10.0.0.9 is no virtual_ip"},
        Row{"no_cluster_node", "portal_group 1 { portal 10.0.0.1; node a }\n", "node belongs to a pair"},
        Row{"no_cluster_virtual", "portal_group 1 { portal 10.0.0.1; virtual yes }\n", "virtual belongs to a pair"},
        Row{"no_cluster_lu", "lu x { path /x; " UUID "; replicated yes }\n", "there is no section cluster"},
        Row{"no_uuid", "cluster x {" LINKS "}\n" GROUPS "lu x { path /x; replicated yes }\n",
            "lu x needs its identity on both nodes; a fresh one is: uuid "},
        Row{"ram", "cluster x {" LINKS "}\n" GROUPS "lu x { type ram; size 1M; " UUID "; replicated yes }\n",
            "of type file or block"},
        Row{"read_only", "cluster x {" LINKS "}\n" GROUPS "lu x { path /x; " UUID "; replicated yes; read_only yes }\n",
            "cannot be read_only"},
        Row{"removable", "cluster x {" LINKS "}\n" GROUPS "lu x { path /x; " UUID "; replicated yes; removable yes }\n",
            "cannot be removable"},
        Row{"nothing_replicated", "cluster x {" LINKS "}\n" GROUPS, "no lu of cluster x is replicated"}),
    [](const auto& row) { return row.param.name; });

TEST(ClusterConfig, OffersAUuidThatWorks) {
  const std::string text = "cluster x {" LINKS "}\n" GROUPS "lu x { path /x; replicated yes; ";
  std::string offered;
  for (const std::string& line : problems(text + "}\n")) {
    if (const auto at = line.find("uuid "); at != line.npos) offered = line.substr(at);
  }
  for (const std::string& line : problems(text + offered + " }\n")) EXPECT_THAT(line, HasSubstr("is in no target"));
}

TEST(ClusterConfig, TakesTheClassicSeconds) {
  const std::string text = pair(" keepalive 2; warntime 10; deadtime 30; initdead 120\n");
  ASSERT_THAT(problems(text), IsEmpty());
  EXPECT_EQ(parse(text).config.cluster->deadtime, std::chrono::seconds(30));
  EXPECT_EQ(parse(text).config.cluster->lease, std::chrono::seconds(20));
  EXPECT_THAT(problems(pair(" keepalive 2; warntime 10; deadtime 15; initdead 120\n")), IsEmpty());
}

TEST(ClusterConfig, FindsTheThirdVoteInEtcd) {
  const std::string text = pair(" witness etcd://10.0.0.9, 10.0.0.10:2380 [fd00::9]:2379\n");
  ASSERT_THAT(problems(text), IsEmpty());
  const ClusterConfig cluster = *parse(text).config.cluster;
  EXPECT_THAT(cluster.witness, IsEmpty());
  ASSERT_EQ(cluster.etcd.size(), 3U);
  EXPECT_EQ(format_portal(cluster.etcd[0]), "10.0.0.9:2379");
  EXPECT_EQ(format_portal(cluster.etcd[1]), "10.0.0.10:2380");
  EXPECT_EQ(format_portal(cluster.etcd[2]), "[fd00::9]:2379");
  EXPECT_TRUE(node_options(cluster).witness);
}

TEST(ClusterConfig, KeepsTheWordsOfTheFenceCommand) {
  const std::string text = pair(" on_peer_loss fence\n fence /usr/sbin/power off \"outlet 7\"\n");
  ASSERT_THAT(problems(text), IsEmpty());
  const ClusterConfig cluster = *parse(text).config.cluster;
  EXPECT_EQ(cluster.on_peer_loss, replication::PeerLoss::fence);
  EXPECT_THAT(cluster.fence, ElementsAre("/usr/sbin/power", "off", "outlet 7"));
}

TEST(ClusterConfig, IsReadBackAsItIsShown) {
  const auto parsed =
      parse(pair(" virtual_ip 10.0.0.10/24 dev eth0\n") + "portal_group 3 { portal 10.0.0.10; virtual yes }\n");
  const auto again = parse(show_settings(parsed.objects));
  ASSERT_FALSE(has_errors(again.problems)) << show_settings(parsed.objects);
  EXPECT_EQ(again.config.cluster->addresses, parsed.config.cluster->addresses);
  ASSERT_EQ(again.config.cluster->virtual_ips.size(), 1U);
  EXPECT_EQ(again.config.cluster->virtual_ips[0].interface, "eth0");
}

TEST(ClusterConfig, NeedsARestartWhenItChanges) {
  const auto plan = [](std::string_view before, const NodeChoice& choice, std::string_view after,
                       const NodeChoice& other) {
    return make_plan(parse(before, choice).config, parse(after, other).config).lines();
  };
  const NodeChoice a{.node = Member::a};
  const NodeChoice b{.node = Member::b};
  const std::string line = "! cluster changed: it takes effect at the next start";
  EXPECT_THAT(plan(pair(), a, pair(), a), IsEmpty());
  EXPECT_THAT(plan(pair(), a, pair(" initdead 20s\n"), a), ElementsAre(line));
  EXPECT_THAT(plan(pair(), a, pair(), b), Contains(line));
  EXPECT_THAT(make_plan(TargetdConfig{}, parse(pair(), b).config).lines(), Contains("+ cluster store: this is node b"));
}

}  // namespace
}  // namespace mpath::target
