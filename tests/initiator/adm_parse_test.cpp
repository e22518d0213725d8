// The grammar: what each mode takes, what it refuses and with which words.
#include "initiator/mpathadm_parse.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace mpath::adm {
namespace {

// Splits at blanks; '' stands for an empty word.
std::vector<std::string> words(const std::string& line) {
  std::istringstream in("mpathadm " + line);
  std::vector<std::string> all;
  for (std::string word; in >> word;) all.push_back(word == "''" ? "" : word);
  return all;
}

std::expected<CommandLine, UsageError> parse_line(const std::string& line) {
  const auto all = words(line);
  return parse(all);
}

template <typename Kind>
Kind command(const std::string& line) {
  const auto parsed = parse_line(line);
  if (!parsed) {
    ADD_FAILURE() << line << ": " << parsed.error().line;
    return {};
  }
  const Kind* kind = std::get_if<Kind>(&parsed->command);
  if (kind == nullptr) {
    ADD_FAILURE() << line << ": another kind of command";
    return {};
  }
  return *kind;
}

// --- what is refused -------------------------------------------------------------------------------------------------

struct Refused {
  const char* name;
  const char* line;
  const char* complaint;
};
class RefusedLine : public testing::TestWithParam<Refused> {};

TEST_P(RefusedLine, NamesWhatIsWrong) {
  const auto parsed = parse_line(GetParam().line);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().line, GetParam().complaint);
  EXPECT_EQ(parsed.error().code, ExitCode::invalid_argument);
}

const Refused refused_lines[] = {
    {"NoMode", "", "no mode specified"},
    {"UnknownMode", "-m bogus", "bogus mode is unknown/unsupported"},
    {"ModeWithoutArgument", "-m", "option requires an argument -- 'm'"},
    {"UnknownLetter", "-m node -Z", "invalid option -- 'Z'"},
    {"UnknownLong", "-m node --bogus", "unrecognized option '--bogus'"},
    {"AmbiguousLong", "-m node --log", "option '--log' is ambiguous: --login --loginall --logout --logoutall"},
    {"LongWithoutArgument", "-m node --print", "option '--print' requires an argument"},
    {"FlagWithArgument", "-m node --login=now", "option '--login' does not take an argument"},
    {"LeftoverWord", "-m node extra", "unexpected argument 'extra'"},
    {"TypeInNode", "-m node -t st", "node mode: option '-t' is not allowed/supported"},
    {"SidInNode", "-m node -r 1", "node mode: option '-r' is not allowed/supported"},
    {"DiscoverInNode", "-m node -D", "node mode: option '-D' is not allowed/supported"},
    {"LoginInSession", "-m session -l", "session mode: option '-l' is not allowed/supported"},
    {"TargetInSession", "-m session -T iqn.x", "session mode: option '-T' is not allowed/supported"},
    {"TargetInIface", "-m iface -T iqn.x", "iface mode: option '-T' is not allowed/supported"},
    {"LoginInIface", "-m iface -l", "iface mode: option '-l' is not allowed/supported"},
    {"NoWaitInDiscovery", "-m discovery -W", "discovery mode: option '-W' is not allowed/supported"},
    {"TargetInDiscoverydb", "-m discoverydb -T x", "discoverydb mode: option '-T' is not allowed/supported"},
    {"OperationInFw", "-m fw -o new", "fw mode: option '-o' is not allowed/supported"},
    {"LoginInHost", "-m host -l", "host mode: option '-l' is not allowed/supported"},
    {"UnknownOperation", "-m node -o bogus", "can not recognize operation: 'bogus'"},
    {"LoginAndLogout", "-m node -T x -l -u", "Invalid parameters. Both login and logout passed in"},
    {"LoginAndOperation", "-m node -T x -l -o show", "Invalid parameters. Login/logout and op passed in"},
    {"ApplyInNode", "-m node -T x -o apply", "operation is not supported."},
    {"TwoOperationsInNode", "-m node -T x -o new -o update", "operation is not supported."},
    {"UpdateWithoutPair", "-m node -T x -o update", "update requires name and value"},
    {"UpdateWithoutValue", "-m node -T x -o update -n node.startup", "update requires name and value"},
    {"UnknownLoginGroup", "-m node -L sometimes", "Invalid loginall option sometimes."},
    {"UnknownLogoutGroup", "-m node -U sometimes", "Invalid logoutall option sometimes."},
    {"LogoutOfOnboot", "-m node -U onboot", "Invalid logoutall option onboot."},
    {"TwoIfacesInNode", "-m node -I a -I b", "node mode accepts only one interface"},
    {"WordAsSid", "-m session -r abc", "invalid sid 'abc'"},
    {"PathThatIsNoSession", "-m session -r /sys/class/scsi_host/host3", "invalid sid '/sys/class/scsi_host/host3'"},
    {"CloneWithoutSid", "-m session -o new", "session mode: Operation 'new' only allowed with specific session IDs"},
    {"SessionLevel", "-m session -P 4", "Invalid info level 4. Try 0 - 3."},
    {"NodeLevel", "-m node -P 2", "Invalid info level 2. Try 0 - 1."},
    {"IfaceLevel", "-m iface -P 2", "Invalid info level 2. Try 0 - 1."},
    {"DiscoveryLevel", "-m discovery -P 5", "Invalid info level 5. Try 0 - 1."},
    {"NegativeLevel", "-m session -P -1", "Invalid info level -1. Try 0 - 3."},
    {"WordAsLevel", "-m session -P high", "Invalid info level high."},
    {"DebugLevel", "-m node -d 9", "Invalid debug level 9. Try 0 - 8."},
    {"IfaceNewWithoutName", "-m iface -o new", "Could not add interface. No interface passed in."},
    {"IfaceDeleteWithoutName", "-m iface -o delete", "Could not delete interface. No interface passed in."},
    {"IfaceUpdateWithoutPair", "-m iface -I i -o update", "Update requires name, value, and iface."},
    {"IfaceLoginOperation", "-m iface -I i -o login", "operation is not supported."},
    {"EmptyIfaceName", "-m iface -I '' -o new", "Invalid iface name . Must be from 1 to 64 characters."},
    {"IfaceNameWithSlash", "-m iface -I a/b -o new", "Invalid iface name a/b. Must be from 1 to 64 characters."},
    {"KillPriority", "-k 3", "Invalid iscsid priority 3. Priority must be 0."},
    {"NegativeKillPriority", "-k -1", "Invalid killiscsid priority -1 Priority must be greater than or equal to zero."},
    {"UnknownSubmode", "-m host -C bogus", "Invalid Sub Mode 'bogus'"},
    {"PortZero", "-m node -p 10.0.0.1:0", "invalid portal '10.0.0.1:0': the port is a number from 1 to 65535"},
    {"PortTooLarge", "-m node -p 10.0.0.1:65536", "invalid portal '10.0.0.1:65536': the port is a number from 1 to 65535"},
    {"PortWord", "-m node -p 10.0.0.1:iscsi", "invalid portal '10.0.0.1:iscsi': the port is a number from 1 to 65535"},
    {"GroupWord", "-m node -p 10.0.0.1,x", "invalid portal '10.0.0.1,x': the portal group tag is a number up to 65535"},
    {"OpenBracket", "-m node -p [fe80::1", "invalid portal '[fe80::1': no closing bracket"},
    {"BracketThenWord", "-m node -p [fe80::1]x", "invalid portal '[fe80::1]x': ':' or ',' must follow the bracket"},
    {"EmptyPortal", "-m node -p ''", "invalid portal '': no address"},
    {"PortalWithoutAddress", "-m node -p :3260", "invalid portal ':3260': no address"},
    {"UrlAsPortal", "-m node -p iscsi://host", "invalid portal 'iscsi://host': the port is a number from 1 to 65535"},
};
INSTANTIATE_TEST_SUITE_P(Adm, RefusedLine, testing::ValuesIn(refused_lines), [](const auto& row) { return row.param.name; });

// --- pasted dashes ---------------------------------------------------------------------------------------------------

const Refused dashes[] = {
    {"EnDash", "–m node", "'–m' starts with a typographic dash, as text programs put it; type: mpathadm -m node"},
    {"EnDashLater", "-m node –T iqn.x -o show",
     "'–T' starts with a typographic dash, as text programs put it; type: mpathadm -m node -T iqn.x -o show"},
    {"EmDashIsTwoHyphens", "-m node —login", "'—login' starts with a typographic dash, as text programs put it; type: mpathadm -m node --login"},
    {"EnDashBeforeWord", "-m node –op=new", "'–op=new' starts with a typographic dash, as text programs put it; type: mpathadm -m node --op=new"},
    {"HyphenAndEnDash", "-m node -–login", "'-–login' starts with a typographic dash, as text programs put it; type: mpathadm -m node --login"},
    {"Minus", "−m session", "'−m' starts with a typographic dash, as text programs put it; type: mpathadm -m session"},
    {"NonBreakingHyphen", "‑m session", "'‑m' starts with a typographic dash, as text programs put it; type: mpathadm -m session"},
    {"FullWidth", "－m session", "'－m' starts with a typographic dash, as text programs put it; type: mpathadm -m session"},
    {"AllOfThem", "–m discovery –t st –p 10.0.0.1",
     "'–m' starts with a typographic dash, as text programs put it; type: mpathadm -m discovery -t st -p 10.0.0.1"},
};
INSTANTIATE_TEST_SUITE_P(AdmDash, RefusedLine, testing::ValuesIn(dashes), [](const auto& row) { return row.param.name; });

TEST(AdmParse, DashInAValueIsAValue) {
  EXPECT_EQ(command<NodeCommand>("-m node -T x -o update -n node.session.auth.password -v –secret").assignments.front().value, "–secret");
}

// --- what is taken ---------------------------------------------------------------------------------------------------

struct Spelling {
  const char* name;
  const char* line;
};
class OperationSpelling : public testing::TestWithParam<Spelling> {};

TEST_P(OperationSpelling, MeansNew) {
  const auto node = command<NodeCommand>(GetParam().line);
  EXPECT_EQ(node.action, NodeAction::create);
  EXPECT_EQ(node.target, "iqn.x");
  EXPECT_EQ(node.portal->address, "10.0.0.1");
  EXPECT_EQ(node.iface, "ieth0");
}

const Spelling spellings[] = {
    {"Short", "-m node -T iqn.x -p 10.0.0.1 -I ieth0 -o new"},
    {"Joined", "-mnode -Tiqn.x -p10.0.0.1 -Iieth0 -onew"},
    {"Long", "--mode node --targetname iqn.x --portal 10.0.0.1 --interface ieth0 --op new"},
    {"LongEquals", "--mode=node --targetname=iqn.x --portal=10.0.0.1 --interface=ieth0 --op=new"},
    {"Abbreviated", "--mode node --targ iqn.x --portal 10.0.0.1 --interf ieth0 --op new"},
    {"ModeLast", "-o new -I ieth0 -p 10.0.0.1 -T iqn.x -m node"},
    {"EmptyWords", "-m node '' -T iqn.x -p 10.0.0.1 -I ieth0 -o new ''"},
};
INSTANTIATE_TEST_SUITE_P(Adm, OperationSpelling, testing::ValuesIn(spellings), [](const auto& row) { return row.param.name; });

struct NodeLine {
  const char* name;
  const char* line;
  NodeAction action;
};
class NodeGrammar : public testing::TestWithParam<NodeLine> {};
TEST_P(NodeGrammar, ChoosesTheAction) { EXPECT_EQ(command<NodeCommand>(GetParam().line).action, GetParam().action); }

const NodeLine node_lines[] = {
    {"Bare", "-m node", NodeAction::list},
    {"Level", "-m node -P 1", NodeAction::list},
    {"Target", "-m node -T x", NodeAction::show},
    {"Portal", "-m node -p 10.0.0.1", NodeAction::show},
    {"Show", "-m node -o show", NodeAction::show},
    {"Login", "-m node -l", NodeAction::login},
    {"LongLogin", "-m node --login", NodeAction::login},
    {"Logout", "-m node -T x -u", NodeAction::logout},
    {"Rescan", "-m node -R", NodeAction::rescan},
    {"Stats", "-m node -s", NodeAction::stats},
    {"Delete", "-m node -T x -o delete", NodeAction::remove},
    {"Update", "-m node -T x -o update -n a -v b", NodeAction::update},
    {"LoginAll", "-m node --loginall=all", NodeAction::login_all},
    {"LoginAllShort", "-m node -L automatic", NodeAction::login_all},
    {"LogoutAll", "-m node -U manual", NodeAction::logout_all},
};
INSTANTIATE_TEST_SUITE_P(Adm, NodeGrammar, testing::ValuesIn(node_lines), [](const auto& row) { return row.param.name; });

struct SessionLine {
  const char* name;
  const char* line;
  SessionAction action;
};
class SessionGrammar : public testing::TestWithParam<SessionLine> {};
TEST_P(SessionGrammar, ChoosesTheAction) { EXPECT_EQ(command<SessionCommand>(GetParam().line).action, GetParam().action); }

const SessionLine session_lines[] = {
    {"Bare", "-m session", SessionAction::list},
    {"Level", "-m session -P 3", SessionAction::list},
    {"OneTree", "-m session -r 1 -P 1", SessionAction::list},
    {"OneRecord", "-m session -r 1", SessionAction::show},
    {"OneLogout", "-m session -r 1 -u", SessionAction::logout},
    {"AllLogout", "-m session -u", SessionAction::logout},
    {"OneRescan", "-m session -r 1 --rescan", SessionAction::rescan},
    {"Stats", "-m session -s", SessionAction::stats},
    {"Clone", "-m session -r 1 -o new", SessionAction::clone},
    {"Update", "-m session -r 1 -o update -n a -v b", SessionAction::update},
};
INSTANTIATE_TEST_SUITE_P(Adm, SessionGrammar, testing::ValuesIn(session_lines), [](const auto& row) { return row.param.name; });

struct PortalLine {
  const char* name;
  const char* text;
  PortalArgument portal;
};
class PortalGrammar : public testing::TestWithParam<PortalLine> {};
TEST_P(PortalGrammar, IsTakenApart) {
  EXPECT_EQ(command<NodeCommand>(std::string("-m node -p ") + GetParam().text).portal, GetParam().portal);
}

const PortalLine portals[] = {
    {"Ipv4", "10.0.0.1", {"10.0.0.1", std::nullopt, std::nullopt}},
    {"Port", "10.0.0.1:3261", {"10.0.0.1", 3261, std::nullopt}},
    {"Group", "10.0.0.1,5", {"10.0.0.1", std::nullopt, 5}},
    {"PortAndGroup", "10.0.0.1:3261,5", {"10.0.0.1", 3261, 5}},
    {"Ipv6", "[fe80::1]", {"fe80::1", std::nullopt, std::nullopt}},
    {"Ipv6Port", "[fe80::1]:3261", {"fe80::1", 3261, std::nullopt}},
    {"Ipv6PortAndGroup", "[fe80::1]:3261,2", {"fe80::1", 3261, 2}},
    {"Ipv6Scope", "[fe80::1%eth0]:3260", {"fe80::1%eth0", 3260, std::nullopt}},
    {"Ipv6Bare", "2001:db8::1", {"2001:db8::1", std::nullopt, std::nullopt}},
    {"Ipv6BareGroup", "2001:db8::1,3", {"2001:db8::1", std::nullopt, 3}},
    {"Name", "storage", {"storage", std::nullopt, std::nullopt}},
    {"NamePort", "storage.example:3261", {"storage.example", 3261, std::nullopt}},
    {"NamePortAndGroup", "storage:3261,1", {"storage", 3261, 1}},
};
INSTANTIATE_TEST_SUITE_P(Adm, PortalGrammar, testing::ValuesIn(portals), [](const auto& row) { return row.param.name; });

TEST(AdmParse, PairsOfNameAndValueMayRepeat) {
  const std::vector<Assignment> expected{{"a", "1"}, {"b", "2"}, {"c", "3"}};
  EXPECT_EQ(command<NodeCommand>("-m node -T x -o update -n a -v 1 --name b --value 2 -v 3 -n c").assignments, expected);
}

TEST(AdmParse, DiscoveryTakesSeveralIfacesAndOperations) {
  const auto discovery = command<DiscoveryCommand>("-m discovery -t st -p 10.0.0.1 -I a -I b -o new -o delete -l");
  EXPECT_EQ(discovery.ifaces, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(discovery.ops.has(Op::create));
  EXPECT_TRUE(discovery.ops.has(Op::remove));
  EXPECT_FALSE(discovery.ops.has(Op::update));
  EXPECT_TRUE(discovery.login);
  EXPECT_FALSE(discovery.database);
  EXPECT_EQ(discovery.type, DiscoveryType::sendtargets);
}

TEST(AdmParse, UnknownDiscoveryTypeIsAsIfNoneWasGiven) {
  EXPECT_EQ(command<DiscoveryCommand>("-m discovery -t bogus -p 10.0.0.1").type, std::nullopt);
  EXPECT_EQ(command<DiscoveryCommand>("-m discoverydb -t isns -p 10.0.0.1 -D").type, DiscoveryType::isns);
}

TEST(AdmParse, SidMayBeAPathOfSysfs) {
  EXPECT_EQ(command<SessionCommand>("-m session -r /sys/class/iscsi_session/session12/ -u").sid, 12u);
  EXPECT_EQ(command<SessionCommand>("-m session --sid=7 -u").sid, 7u);
}

TEST(AdmParse, CommonOptionsAreTakenInEveryMode) {
  for (const char* mode : {"discovery", "discoverydb", "node", "session", "iface", "fw", "host"}) {
    const auto parsed = parse_line(std::string("-m ") + mode + " --json --root /tmp/x -d 3");
    ASSERT_TRUE(parsed) << mode << ": " << parsed.error().line;
    EXPECT_TRUE(parsed->json);
    EXPECT_EQ(parsed->root, "/tmp/x");
    EXPECT_EQ(parsed->debug_level, 3);
  }
}

TEST(AdmParse, WaitAndSecretsAreFlags) {
  const auto parsed = parse_line("-m node -T x -l -W");
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->wait);
  EXPECT_TRUE(parse_line("-m node -T x -S")->show_secrets);
  EXPECT_TRUE(parse_line("-m node -T x --no_wait -l"));
}

TEST(AdmParse, HelpAndVersionGoBeforeEverything) {
  EXPECT_TRUE(std::holds_alternative<HelpCommand>(parse_line("-h")->command));
  EXPECT_TRUE(std::holds_alternative<HelpCommand>(parse_line("-m node --help")->command));
  EXPECT_TRUE(std::holds_alternative<VersionCommand>(parse_line("--version")->command));
  EXPECT_TRUE(std::holds_alternative<StopDaemonCommand>(parse_line("-k 0")->command));
}

TEST(AdmParse, OffloadCommandsAreReadAndNamed) {
  EXPECT_EQ(command<UnsupportedCommand>("-m iface -I x -o apply").what, "operation apply (of offload cards)");
  EXPECT_EQ(command<UnsupportedCommand>("-m iface -I x -C ping -a 10.0.0.1 -b 64 -c 2 -i 1").what, "submode ping (of offload cards)");
  EXPECT_EQ(command<UnsupportedCommand>("-m host -H 3 -C chap -o show -x 1").what, "submode chap (of offload cards)");
  EXPECT_TRUE(command<FirmwareCommand>("-m fw -l").login);
  static_cast<void>(command<HostCommand>("-m host -P 4"));
}

TEST(AdmParse, HelpNamesEveryOption) {
  const std::string help = help_text();
  for (const auto& [letter, name] : option_names()) EXPECT_NE(help.find("--" + name), std::string::npos) << name;
}

TEST(AdmParse, CanBeCalledAgainAndAgain) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(parse_line("-m node -Z"));
    EXPECT_TRUE(parse_line("-m node"));
  }
}

}  // namespace
}  // namespace mpath::adm
