// What mpathadm does, prints and returns: every mode, and every kind of bad input.
#include <sys/stat.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "adm_fixture.hpp"
#include "initiator/boot_firmware.hpp"

namespace mpath::adm {
namespace {

const std::string disk = "iqn.2003-01.org.example:disk1";

#define EXPECT_RAN(ran, want_code, want_out, want_err) \
  do {                                                 \
    const Ran result = (ran);                          \
    EXPECT_EQ(result.code, want_code);                 \
    EXPECT_EQ(result.out, want_out);                   \
    EXPECT_EQ(result.err, want_err);                   \
  } while (false)

db::NodeKey key(const std::string& address, int tpgt = 1, const std::string& iface = "default") {
  return {.target_name = disk, .address = address, .port = 3260, .tpgt = tpgt, .iface = iface};
}

class Adm : public AdmTest {
 protected:
  void add_node(const std::string& address, const db::Settings& settings = {}, const std::string& iface = "default") {
    ASSERT_TRUE(store());
    ASSERT_FALSE(store_->add_node(key(address, 1, iface), settings));
  }
  std::string setting(const std::string& address, const std::string& name) {
    const auto record = store_->node(key(address));
    return record ? record->settings.at(name) : "no record";
  }
};

// --- records ---------------------------------------------------------------------------------------------------------

TEST_F(Adm, NewRecordIsAddedShownAndDeleted) {
  EXPECT_RAN(adm("-m node -T " + disk + " -p 10.0.0.1,1 -o new"), ExitCode::success,
             "New iSCSI node [tcp:[hw=,ip=,net_if=,iscsi_if=default] 10.0.0.1,3260,1 " + disk + "] added\n", "");
  EXPECT_RAN(adm("-m node"), ExitCode::success, "10.0.0.1:3260,1 " + disk + "\n", "");
  const Ran shown = adm("-m node -T " + disk + " -p 10.0.0.1");
  EXPECT_TRUE(shown.out.starts_with("# BEGIN RECORD 9.9\nnode.name = " + disk + "\nnode.tpgt = 1\n")) << shown.out;
  EXPECT_TRUE(shown.out.ends_with("# END RECORD\n"));
  EXPECT_EQ(shown.err, "");
  EXPECT_RAN(adm("-m node -T " + disk + " -o delete"), ExitCode::success, "", "");
  EXPECT_RAN(adm("-m node"), ExitCode::no_objects_found, "", "mpathadm: No records found\n");
}

TEST_F(Adm, NewRecordWithoutGroupIsTheKnownOneOfThePortal) {
  add_node("10.0.0.1", {{"node.startup", "automatic"}});
  EXPECT_EQ(adm("-m node -T " + disk + " -p 10.0.0.1 -o new").code, ExitCode::success);
  EXPECT_RAN(adm("-m node"), ExitCode::success, "10.0.0.1:3260,1 " + disk + "\n", "");
  EXPECT_EQ(setting("10.0.0.1", "node.startup"), "automatic");
}

TEST_F(Adm, NewRecordForAnotherIfaceTakesThePortalsThatAreKnown) {
  add_node("10.0.0.1");
  add_node("10.0.0.2");
  ASSERT_EQ(adm("-m iface -I ieth0 -o new").code, ExitCode::success);
  EXPECT_EQ(adm("-m node -T " + disk + " -I ieth0 -o new").code, ExitCode::success);
  EXPECT_EQ(store_->nodes({.iface = "ieth0"})->size(), 2u);
}

TEST_F(Adm, NewRecordNeedsATargetAndAPortal) {
  EXPECT_RAN(adm("-m node -o new"), ExitCode::invalid_argument, "",
             "mpathadm: Error while adding record: a new record needs a target (-T) and a portal (-p)\n");
}

TEST_F(Adm, NewRecordNeedsAnIfaceThatExists) {
  EXPECT_EQ(adm("-m node -T " + disk + " -p 10.0.0.1 -I nosuch -o new").code, ExitCode::database_failure);
}

TEST_F(Adm, UpdateChangesEveryMatchingRecordSilently) {
  add_node("10.0.0.1");
  add_node("10.0.0.2");
  EXPECT_RAN(adm("-m node -T " + disk + " -o update -n node.startup -v automatic -n node.session.scan -v manual"), ExitCode::success, "", "");
  EXPECT_EQ(setting("10.0.0.1", "node.startup"), "automatic");
  EXPECT_EQ(setting("10.0.0.2", "node.session.scan"), "manual");
}

TEST_F(Adm, UpdateOfOnePortalLeavesTheOthers) {
  add_node("10.0.0.1");
  add_node("10.0.0.2");
  EXPECT_EQ(adm("-m node -T " + disk + " -p 10.0.0.2:3260 -o update -n node.startup -v automatic").code, ExitCode::success);
  EXPECT_EQ(setting("10.0.0.1", "node.startup"), "manual");
  EXPECT_EQ(setting("10.0.0.2", "node.startup"), "automatic");
}

TEST_F(Adm, PortalMayBeGivenByItsHostName) {
  add_node("10.0.0.1");
  hosts_["storage"] = {"10.0.0.1"};
  EXPECT_EQ(adm("-m node -p storage -o show").code, ExitCode::success);
  EXPECT_EQ(adm("-m node -p other -o show").code, ExitCode::no_objects_found);
}

TEST_F(Adm, SecretsAreMaskedUnlessAskedFor) {
  add_node("10.0.0.1", {{"node.session.auth.password", "sesame"}});
  EXPECT_NE(adm("-m node -o show").out.find("node.session.auth.password = ********\n"), std::string::npos);
  EXPECT_NE(adm("-m node -o show -S").out.find("node.session.auth.password = sesame\n"), std::string::npos);
  const auto json = nlohmann::json::parse(adm("-m node -o show --json").out);
  EXPECT_EQ(json["nodes"][0]["settings"]["node.session.auth.password"], "********");
}

struct BadUpdate {
  const char* name;
  const char* pair;
  const char* complaint;
};
class AdmBadUpdate : public Adm, public testing::WithParamInterface<BadUpdate> {};

TEST_P(AdmBadUpdate, IsRefusedWithOneLineAndChangesNothing) {
  add_node("10.0.0.1");
  const auto before = store_->node(key("10.0.0.1"))->settings;
  EXPECT_RAN(adm("-m node -o update -n node.startup -v automatic " + std::string(GetParam().pair)), ExitCode::invalid_argument, "",
             "mpathadm: " + std::string(GetParam().complaint) + "\n");
  EXPECT_EQ(store_->node(key("10.0.0.1"))->settings, before);
}

const BadUpdate bad_updates[] = {
    {"UnknownKey", "-n node.nosuch -v 1", "Cannot modify node.nosuch. Invalid param name."},
    {"Identity", "-n node.name -v x", "Cannot modify node.name. It is used to look up the record and cannot be changed."},
    {"IfaceKey", "-n iface.net_ifacename -v eth1", "Cannot modify iface.net_ifacename. Use iface mode to update this value."},
    {"Word", "-n node.session.scan -v sometimes", "Invalid value 'sometimes' for node.session.scan: it takes one of auto, manual."},
};
INSTANTIATE_TEST_SUITE_P(Rows, AdmBadUpdate, testing::ValuesIn(bad_updates), [](const auto& row) { return row.param.name; });

TEST_F(Adm, BadNumberIsRefused) {
  add_node("10.0.0.1");
  const Ran ran = adm("-m node -o update -n node.session.cmds_max -v abc");
  EXPECT_EQ(ran.code, ExitCode::invalid_argument);
  EXPECT_TRUE(ran.err.starts_with("mpathadm: Invalid value 'abc' for node.session.cmds_max: it takes ")) << ran.err;
}

TEST_F(Adm, UnknownRecordsAreNoObjects) {
  for (const char* rest : {"", " -o show", " -o delete", " -l", " -o update -n node.startup -v manual"}) {
    EXPECT_RAN(adm("-m node -T nosuch" + std::string(rest)), ExitCode::no_objects_found, "", "mpathadm: No records found\n");
  }
}

TEST_F(Adm, DeleteOfARecordInUseIsRefused) {
  add_node("10.0.0.1");
  daemon_.add(key("10.0.0.1"));
  const Ran ran = adm("-m node -T " + disk + " -o delete");
  EXPECT_EQ(ran.code, ExitCode::session_exists);
  EXPECT_TRUE(ran.err.starts_with("mpathadm: This command will remove the record [iface: default, target: " + disk +
                                  ", portal: 10.0.0.1,3260], but a session is using it."));
  EXPECT_EQ(store_->nodes({})->size(), 1u);
}

TEST_F(Adm, DeleteWorksWithoutADaemon) {
  add_node("10.0.0.1");
  daemon_.running = false;
  EXPECT_RAN(adm("-m node -o delete"), ExitCode::success, "", "");
}

// --- sessions --------------------------------------------------------------------------------------------------------

TEST_F(Adm, LoginSaysWhichOnesWereMade) {
  add_node("10.0.0.1");
  EXPECT_RAN(adm("-m node -T " + disk + " -p 10.0.0.1 --login"), ExitCode::success,
             "Login to [iface: default, target: " + disk + ", portal: 10.0.0.1,3260] successful.\n", "");
  EXPECT_RAN(adm("-m session"), ExitCode::success, "tcp: [1] 10.0.0.1:3260,1 " + disk + " (non-flash)\n", "");
}

TEST_F(Adm, LoginThatExistsIsFifteen) {
  add_node("10.0.0.1");
  daemon_.add(key("10.0.0.1"));
  EXPECT_RAN(adm("-m node -l"), ExitCode::session_exists, "",
             "mpathadm: default: 1 session requested, but 1 already present.\nmpathadm: Could not log into all portals\n");
}

TEST_F(Adm, FirstOfSeveralFailuresGivesTheCode) {
  for (const char* address : {"10.0.0.1", "10.0.0.2", "10.0.0.3"}) add_node(address);
  daemon_.refuse = {{"10.0.0.1", ExitCode::authorization_failure}, {"10.0.0.3", ExitCode::connect_timeout}};
  const Ran ran = adm("-m node -l");
  EXPECT_EQ(ran.code, ExitCode::authorization_failure);
  EXPECT_EQ(ran.out, "Login to [iface: default, target: " + disk + ", portal: 10.0.0.2,3260] successful.\n");
  EXPECT_TRUE(ran.err.starts_with("mpathadm: Could not login to [iface: default, target: " + disk +
                                  ", portal: 10.0.0.1,3260].\n"
                                  "mpathadm: initiator reported error (24 - "))
      << ran.err;
  EXPECT_NE(ran.err.find("mpathadm: initiator reported error (8 - "), std::string::npos);
  EXPECT_TRUE(ran.err.ends_with("mpathadm: Could not log into all portals\n"));
}

TEST_F(Adm, LoginWithoutWaitingSaysNothing) {
  add_node("10.0.0.1");
  EXPECT_RAN(adm("-m node -l -W"), ExitCode::success, "", "");
  ASSERT_EQ(daemon_.logins.size(), 1u);
  EXPECT_FALSE(daemon_.logins[0].wait);
}

TEST_F(Adm, LoginGroupsGoByEitherStartupSetting) {
  add_node("10.0.0.1", {{"node.startup", "automatic"}});
  add_node("10.0.0.2", {{"node.conn[0].startup", "automatic"}});
  add_node("10.0.0.3");
  EXPECT_EQ(adm("-m node --loginall=automatic").code, ExitCode::success);
  EXPECT_EQ(daemon_.list.size(), 2u);
  EXPECT_EQ(adm("-m node -L onboot").code, ExitCode::no_objects_found);
}

TEST_F(Adm, LogoutOfAllLeavesWhatIsNeededAtBoot) {
  add_node("10.0.0.1", {{"node.startup", "onboot"}});
  add_node("10.0.0.2");
  ASSERT_EQ(adm("-m node -L all").code, ExitCode::success);
  EXPECT_EQ(adm("-m node -U all").code, ExitCode::success);
  ASSERT_EQ(daemon_.list.size(), 1u);
  EXPECT_EQ(daemon_.list[0].node.address, "10.0.0.1");
  EXPECT_EQ(adm("-m node -U all").code, ExitCode::no_objects_found);
}

TEST_F(Adm, LeadingLoginStopsAtTheFirstIfaceThatWorks) {
  ASSERT_TRUE(store());
  for (const char* iface : {"ieth0", "ieth1", "ieth2"}) {
    ASSERT_FALSE(store_->add_iface(iface, {}));
    add_node(iface == std::string("ieth0") ? "10.0.0.1" : "10.0.0.2", {{"node.leading_login", "Yes"}}, iface);
  }
  daemon_.refuse = {{"10.0.0.1", ExitCode::connect_timeout}};
  EXPECT_EQ(adm("-m node -L all").code, ExitCode::success);
  ASSERT_EQ(daemon_.list.size(), 1u);
  EXPECT_EQ(daemon_.list[0].node.iface, "ieth1");
}

TEST_F(Adm, LogoutSaysWhatItDoes) {
  daemon_.add(key("10.0.0.1"));
  const std::string brackets = "[sid: 1, target: " + disk + ", portal: 10.0.0.1,3260]";
  EXPECT_RAN(adm("-m node -T " + disk + " -u"), ExitCode::success,
             "Logging out of session " + brackets + "\nLogout of " + brackets + " successful.\n", "");
  EXPECT_RAN(adm("-m node -T " + disk + " -u"), ExitCode::no_objects_found, "", "mpathadm: No matching sessions found\n");
}

TEST_F(Adm, LogoutOfOneSid) {
  daemon_.add(key("10.0.0.1"));
  daemon_.add(key("10.0.0.2"));
  EXPECT_EQ(adm("-m session -r 2 -u").code, ExitCode::success);
  ASSERT_EQ(daemon_.list.size(), 1u);
  EXPECT_EQ(daemon_.list[0].sid, 1u);
}

TEST_F(Adm, UnknownSidIsNoSession) {
  daemon_.add(key("10.0.0.1"));
  for (const char* rest : {"-u", "-R", "-s", "-P 1", "", "-o new"}) {
    EXPECT_EQ(adm("-m session -r 9 " + std::string(rest)).code, ExitCode::session_not_found) << rest;
  }
}

TEST_F(Adm, SessionModeReachesTheRecord) {
  add_node("10.0.0.1");
  daemon_.add(key("10.0.0.1"));
  EXPECT_TRUE(adm("-m session -r 1").out.starts_with("# BEGIN RECORD 9.9\n"));
  EXPECT_EQ(adm("-m session -r 1 -o update -n node.startup -v automatic").code, ExitCode::success);
  EXPECT_EQ(setting("10.0.0.1", "node.startup"), "automatic");
  EXPECT_EQ(adm("-m session -r 1 -o delete").code, ExitCode::session_exists);
}

TEST_F(Adm, CloneMakesOneSessionMore) {
  add_node("10.0.0.1");
  daemon_.add(key("10.0.0.1"));
  EXPECT_EQ(adm("-m session -r 1 -o new").code, ExitCode::success);
  EXPECT_EQ(daemon_.list.size(), 2u);
}

TEST_F(Adm, RescanNamesEachSession) {
  daemon_.add(key("10.0.0.1"));
  const std::string line = "Rescanning session [sid: 1, target: " + disk + ", portal: 10.0.0.1,3260]\n";
  EXPECT_RAN(adm("-m session --rescan"), ExitCode::success, line, "");
  EXPECT_RAN(adm("-m session -r 1 --rescan"), ExitCode::success, line, "");
  EXPECT_RAN(adm("-m node -R"), ExitCode::success, line, "");
}

TEST_F(Adm, NoSessionIsTwentyOne) {
  EXPECT_RAN(adm("-m session"), ExitCode::no_objects_found, "", "mpathadm: No active sessions.\n");
  EXPECT_RAN(adm("-m session -P 3"), ExitCode::no_objects_found, "", "mpathadm: No active sessions.\n");
  EXPECT_RAN(adm("-m session -R"), ExitCode::no_objects_found, "", "mpathadm: No session found.\n");
  EXPECT_RAN(adm("-m session -s"), ExitCode::no_objects_found, "", "mpathadm: No session found.\n");
  EXPECT_RAN(adm("-m session -u"), ExitCode::no_objects_found, "", "mpathadm: No matching sessions found\n");
}

TEST_F(Adm, SessionThatNeverWasLoggedInIsInJsonOnly) {
  daemon_.add(key("10.0.0.1")).established = false;
  EXPECT_EQ(adm("-m session").code, ExitCode::no_objects_found);
  const auto json = nlohmann::json::parse(adm("-m session --json").out);
  EXPECT_EQ(json["sessions"].size(), 1u);
}

TEST_F(Adm, WithoutADaemonThereAreNoSessionsToListAndNothingElseWorks) {
  add_node("10.0.0.1");
  daemon_.running = false;
  EXPECT_RAN(adm("-m session"), ExitCode::no_objects_found, "", "mpathadm: No active sessions.\n");
  for (const char* line : {"-m node -l", "-m node -L all", "-m node -U all", "-m node -u", "-m session -u", "-m session -R", "-m session -s", "-k 0"}) {
    const Ran ran = adm(line);
    EXPECT_EQ(ran.code, ExitCode::daemon_unreachable) << line;
    EXPECT_EQ(ran.err,
              "mpathadm: cannot connect to mpathd at /run/mpathd/mpathd.sock: No such file or directory\n"
              "mpathadm: initiator reported error (20 - could not connect to mpathd)\n")
        << line;
  }
}

// --- ifaces ----------------------------------------------------------------------------------------------------------

TEST_F(Adm, IfaceLife) {
  EXPECT_RAN(adm("-m iface -I ieth0 -o new"), ExitCode::success, "New interface ieth0 added\n", "");
  EXPECT_RAN(adm("-m iface -I ieth0 --op=update -n iface.net_ifacename -v eth0"), ExitCode::success, "ieth0 updated.\n", "");
  EXPECT_RAN(adm("-m iface"), ExitCode::success,
             "default tcp,<empty>,<empty>,<empty>,<empty>\nieth0 tcp,<empty>,<empty>,eth0,<empty>\n", "");
  EXPECT_NE(adm("-m iface -I ieth0 -o show").out.find("iface.net_ifacename = eth0\n"), std::string::npos);
  add_node("10.0.0.1", {}, "ieth0");
  EXPECT_EQ(adm("-m iface -P 1 -I ieth0").out, "Iface: ieth0\n\tTarget: " + disk + "\n\t\tPortal: 10.0.0.1:3260,1\n");
  EXPECT_RAN(adm("-m iface -I ieth0 -o delete"), ExitCode::success, "ieth0 unbound and deleted.\n", "");
  EXPECT_EQ(adm("-m node").code, ExitCode::no_objects_found);  // its records went with it
}

TEST_F(Adm, IfaceBindingDoesNotChangeItsKind) {
  ASSERT_EQ(adm("-m iface -I i -o new -n iface.net_ifacename -v eth0").code, ExitCode::success);
  const Ran ran = adm("-m iface -I i -o update -n iface.hwaddress -v 02:00:00:00:00:01");
  EXPECT_EQ(ran.code, ExitCode::invalid_argument);
  EXPECT_EQ(ran.err, "mpathadm: Can not update interface binding from net_ifacename to hwaddress. You must delete the interface and create a new one\n");
}

TEST_F(Adm, BuiltInIfaceIsNotTouched) {
  for (const char* rest : {"-o new", "-o delete", "-o update -n iface.net_ifacename -v eth0"}) {
    EXPECT_EQ(adm("-m iface -I default " + std::string(rest)).code, ExitCode::invalid_argument) << rest;
  }
  EXPECT_EQ(adm("-m iface -I default").code, ExitCode::success);
}

TEST_F(Adm, UnknownIface) {
  EXPECT_EQ(adm("-m iface -I nosuch").code, ExitCode::database_failure);
  EXPECT_RAN(adm("-m iface -I nosuch -o update -n iface.mtu -v 1"), ExitCode::invalid_argument, "",
             "mpathadm: Could not read iface info for nosuch.\n");
  EXPECT_EQ(adm("-m iface -I nosuch -o delete").code, ExitCode::invalid_argument);
}

TEST_F(Adm, IfaceInUseIsNeitherDeletedNorRemade) {
  ASSERT_EQ(adm("-m iface -I i -o new").code, ExitCode::success);
  daemon_.add(key("10.0.0.1", 1, "i"));
  EXPECT_EQ(adm("-m iface -I i -o delete").code, ExitCode::session_exists);
  EXPECT_EQ(adm("-m iface -I i -o new").code, ExitCode::session_exists);
  const Ran ran = adm("-m iface -I i -o update -n iface.net_ifacename -v eth0");
  EXPECT_EQ(ran.code, ExitCode::success);
  EXPECT_NE(ran.err, "");  // a warning: it takes effect at the next login
}

// --- discovery -------------------------------------------------------------------------------------------------------

TEST_F(Adm, DiscoveryPrintsAndStoresWhatIsFound) {
  discover_ = [](const DiscoveryRequest& request) -> Outcome<std::vector<db::NodeAddress>> {
    EXPECT_EQ(request.record.key.address, "10.0.0.1");
    EXPECT_EQ(request.initiator_name, "iqn.2026-11.example:me");
    return std::vector<db::NodeAddress>{{disk, "10.0.0.1", 3260, 1}, {disk, "10.0.0.2", 3260, 1}};
  };
  const std::string listing = "10.0.0.1:3260,1 " + disk + "\n10.0.0.2:3260,1 " + disk + "\n";
  EXPECT_RAN(adm("-m discovery -t st -p 10.0.0.1"), ExitCode::success, listing, "");
  EXPECT_RAN(adm("-m node"), ExitCode::success, listing, "");
  EXPECT_RAN(adm("-m discovery"), ExitCode::success, "10.0.0.1:3260 via sendtargets\n", "");
  EXPECT_EQ(adm("-m discoverydb -P 1").out, "SENDTARGETS:\nDiscoveryAddress: 10.0.0.1,3260\nTarget: " + disk +
                                              "\n\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: default\n\tPortal: 10.0.0.2:3260,1\n"
                                              "\t\tIface Name: default\niSNS:\nNo targets found.\nSTATIC:\nNo targets found.\n"
                                              "FIRMWARE:\nNo targets found.\n");
}

class AdmDiscovery : public Adm {
 protected:
  void SetUp() override {
    discover_ = [this](const DiscoveryRequest& request) -> Outcome<std::vector<db::NodeAddress>> {
      asked_.push_back(request.iface.name);
      if (broken_.contains(request.iface.name)) return std::unexpected(Failure{ExitCode::connection_failure, "refused"});
      return std::vector<db::NodeAddress>{{disk, "10.0.0.1", 3260, 1}};
    };
  }
  std::vector<std::string> asked_;
  std::set<std::string> broken_;
};

TEST_F(AdmDiscovery, BindsToEveryIfaceGiven) {
  for (const char* name : {"ieth0", "ieth1", "ieth2"}) ASSERT_EQ(adm("-m iface -o new -I " + std::string(name)).code, ExitCode::success);
  EXPECT_EQ(adm("-m discovery -t sendtargets -p 10.0.0.1 -I ieth0 -I ieth1").code, ExitCode::success);
  EXPECT_EQ(store_->nodes({})->size(), 2u);
  EXPECT_EQ(asked_, std::vector<std::string>{"ieth0"});  // the first that gets an answer
}

TEST_F(AdmDiscovery, AsksThroughTheNextIfaceWhenOneGetsNoAnswer) {
  for (const char* name : {"ieth0", "ieth1"}) ASSERT_EQ(adm("-m iface -o new -I " + std::string(name)).code, ExitCode::success);
  broken_ = {"ieth0"};
  EXPECT_RAN(adm("-m discovery -t st -p 10.0.0.1"), ExitCode::success, "10.0.0.1:3260,1 " + disk + "\n10.0.0.1:3260,1 " + disk + "\n", "");
  EXPECT_EQ(asked_, (std::vector<std::string>{"ieth0", "ieth1"}));
}

TEST_F(AdmDiscovery, FailureIsOneLineAndStoresNothing) {
  broken_ = {"default"};
  EXPECT_RAN(adm("-m discovery -t st -p 10.0.0.9"), ExitCode::connection_failure, "",
             "mpathadm: Could not perform SendTargets discovery: encountered connection failure (refused)\n");
  EXPECT_EQ(adm("-m discovery").code, ExitCode::no_objects_found);
}

TEST_F(AdmDiscovery, NothingFoundIsTwentyOne) {
  discover_ = [](const DiscoveryRequest&) -> Outcome<std::vector<db::NodeAddress>> { return std::vector<db::NodeAddress>(); };
  EXPECT_RAN(adm("-m discovery -t st -p 10.0.0.1"), ExitCode::no_objects_found, "", "mpathadm: No portals found\n");
}

TEST_F(AdmDiscovery, KeepsWhatTheAdministratorSet) {
  ASSERT_EQ(adm("-m discovery -t st -p 10.0.0.1").code, ExitCode::success);
  ASSERT_EQ(adm("-m node -o update -n node.startup -v automatic").code, ExitCode::success);
  ASSERT_EQ(adm("-m discovery -t st -p 10.0.0.1").code, ExitCode::success);
  EXPECT_EQ(setting("10.0.0.1", "node.startup"), "automatic");
  ASSERT_EQ(adm("-m discovery -t st -p 10.0.0.1 -o update").code, ExitCode::success);
  EXPECT_EQ(setting("10.0.0.1", "node.startup"), "manual");
}

TEST_F(AdmDiscovery, NonpersistentStoresNothing) {
  EXPECT_RAN(adm("-m discovery -t st -p 10.0.0.1 -o nonpersistent"), ExitCode::success, "10.0.0.1:3260,1 " + disk + "\n", "");
  EXPECT_EQ(adm("-m node").code, ExitCode::no_objects_found);
  EXPECT_EQ(adm("-m discovery -t st -p 10.0.0.1 -o nonpersistent -l").code, ExitCode::invalid_argument);
}

TEST_F(AdmDiscovery, LogsInToWhatItFound) {
  EXPECT_EQ(adm("-m discovery -t st -p 10.0.0.1 -l").out,
            "10.0.0.1:3260,1 " + disk + "\nLogin to [iface: default, target: " + disk + ", portal: 10.0.0.1,3260] successful.\n");
}

TEST_F(AdmDiscovery, RecordsAreMadeChangedAndUsed) {
  const std::string db = "-m discoverydb -t sendtargets -p 10.0.0.1";
  EXPECT_RAN(adm(db + " -o update -n discovery.sendtargets.auth.username -v u"), ExitCode::database_failure, "",
             "mpathadm: Discovery record [10.0.0.1,3260] not found.\n");
  EXPECT_RAN(adm(db + " -o new"), ExitCode::success, "New discovery record for [10.0.0.1,3260] added.\n", "");
  EXPECT_RAN(adm(db + " -o new"), ExitCode::success, "New discovery record for [10.0.0.1,3260] added.\n", "");
  EXPECT_RAN(adm(db + " -o update -n discovery.sendtargets.auth.authmethod -v CHAP -n discovery.sendtargets.auth.username -v u"),
             ExitCode::success, "", "");
  EXPECT_NE(adm(db).out.find("discovery.sendtargets.auth.username = u\n"), std::string::npos);
  discover_ = [](const DiscoveryRequest& request) -> Outcome<std::vector<db::NodeAddress>> {
    EXPECT_EQ(request.record.settings.at("discovery.sendtargets.auth.username"), "u");
    return std::vector<db::NodeAddress>{{disk, "10.0.0.1", 3260, 1}};
  };
  EXPECT_EQ(adm(db + " --discover").code, ExitCode::success);
  EXPECT_EQ(adm(db + " -o delete").code, ExitCode::success);
  EXPECT_EQ(adm(db + " -o delete").code, ExitCode::database_failure);
}

struct BadDiscovery {
  const char* name;
  const char* line;
  ExitCode code;
};
class AdmBadDiscovery : public AdmDiscovery, public testing::WithParamInterface<BadDiscovery> {};
TEST_P(AdmBadDiscovery, HasItsCodeAndALine) {
  const Ran ran = adm(GetParam().line);
  EXPECT_EQ(ran.code, GetParam().code);
  EXPECT_EQ(ran.out, "");
  EXPECT_TRUE(ran.err.starts_with("mpathadm: ")) << ran.err;
}
const BadDiscovery bad_discoveries[] = {
    {"NoPortal", "-m discovery -t st", ExitCode::invalid_argument},
    {"UnknownRecord", "-m discovery -p 10.0.0.1", ExitCode::invalid_argument},
    {"UnknownType", "-m discovery -t bogus -p 10.0.0.1", ExitCode::invalid_argument},
    {"UnknownTypeInDb", "-m discoverydb -t bogus -p 10.0.0.1", ExitCode::invalid_argument},
    {"OperationWithoutType", "-m discoverydb -o new", ExitCode::invalid_argument},
    {"Isns", "-m discovery -t isns -p 10.0.0.1", ExitCode::isns_unavailable},
    {"Firmware", "-m discovery -t fw", ExitCode::no_objects_found},
    {"UnknownIface", "-m discovery -t st -p 10.0.0.1 -I nosuch", ExitCode::no_objects_found},
};
INSTANTIATE_TEST_SUITE_P(Rows, AdmBadDiscovery, testing::ValuesIn(bad_discoveries), [](const auto& row) { return row.param.name; });

// --- the rest --------------------------------------------------------------------------------------------------------

TEST_F(Adm, DamagedDatabaseIsSix) {
  std::filesystem::create_directories(layout_.state());
  std::ofstream(layout_.database()) << std::string(8192, 'x');
  for (const char* line : {"-m node", "-m iface", "-m discovery", "-m node -T x -p 10.0.0.1 -o new"}) {
    const Ran ran = adm(line);
    EXPECT_EQ(ran.code, ExitCode::database_failure) << line;
    EXPECT_NE(ran.err.find("initiator reported error (6 - encountered iSCSI database failure)"), std::string::npos) << ran.err;
  }
}

TEST_F(Adm, HostsAndOffloadAreNotSupported) {
  EXPECT_EQ(adm("-m host").code, ExitCode::no_objects_found);
  EXPECT_RAN(adm("-m iface -I x -C ping -a 10.0.0.1"), ExitCode::not_supported, "",
             "mpathadm: submode ping (of offload cards) is not supported\n"
             "mpathadm: initiator reported error (27 - operation not supported)\n");
}

TEST_F(Adm, VersionAndHelp) {
  EXPECT_RAN(adm("-V"), ExitCode::success, "mpathadm version 9.9\n", "");
  EXPECT_EQ(adm("-h").out, help_text());
}

TEST_F(Adm, EveryListingIsJsonToo) {
  add_node("10.0.0.1");
  daemon_.add(key("10.0.0.1"));
  EXPECT_EQ(nlohmann::json::parse(adm("-m node --json").out)["nodes"].size(), 1u);
  EXPECT_EQ(nlohmann::json::parse(adm("-m session --json -P 3").out)["sessions"][0]["state"], "logged_in");
  EXPECT_EQ(nlohmann::json::parse(adm("-m session -s --json").out)["sessions"][0]["sid"], 1);
  EXPECT_EQ(nlohmann::json::parse(adm("-m iface --json").out)["ifaces"][0]["name"], "default");
  EXPECT_TRUE(nlohmann::json::parse(adm("-m discovery --json").out)["discoveries"].is_array());
}

// --- firmware --------------------------------------------------------------------------------------------------------

// A directory as the kernel's iscsi_ibft shows it: two NICs, a target behind each.
class AdmFirmware : public Adm {
 protected:
  AdmFirmware() {
    put("initiator/initiator-name", "iqn.2026-11.example:booted");
    for (const unsigned index : {0U, 1U}) {
      const std::string nic = "ethernet" + std::to_string(index) + "/", target = "target" + std::to_string(index) + "/";
      put(nic + "index", std::to_string(index));
      put(nic + "flags", "3");
      put(nic + "mac", "52:54:00:00:00:0" + std::to_string(index));
      put(nic + "ip-addr", "10.0." + std::to_string(index) + ".9");
      put(nic + "subnet-mask", "255.255.255.0");
      put(nic + "gateway", "0.0.0.0");
      put(nic + "vlan", "0");
      put(target + "index", std::to_string(index));
      put(target + "flags", "3");
      put(target + "target-name", disk);
      put(target + "ip-addr", "10.0." + std::to_string(index) + ".1");
      put(target + "port", "3260");
      put(target + "lun", "00000000");
      put(target + "nic-assoc", std::to_string(index));
    }
    put("target1/chap-name", "booter");
    put("target1/chap-secret", "a secret of boot");
  }
  void put(const std::string& name, const std::string& text) {
    const auto file = layout_.root / "sys/firmware/ibft" / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
};

TEST_F(AdmFirmware, IsShownAsRecordsWithoutSecrets) {
  const Ran shown = adm("-m fw");
  EXPECT_EQ(shown.code, ExitCode::success);
  EXPECT_TRUE(shown.out.starts_with("# BEGIN RECORD 9.9\niface.initiatorname = iqn.2026-11.example:booted\n"
                                    "iface.hwaddress = 52:54:00:00:00:00\niface.ipaddress = 10.0.0.9\n"
                                    "iface.subnet_mask = 255.255.255.0\nnode.name = " + disk + "\n"
                                    "node.conn[0].address = 10.0.0.1\nnode.conn[0].port = 3260\nnode.boot_lun = 00000000\n"))
      << shown.out;
  EXPECT_NE(shown.out.find("node.session.auth.password = ********\n"), std::string::npos) << shown.out;
  EXPECT_EQ(shown.out.find("a secret of boot"), std::string::npos);
}

TEST_F(AdmFirmware, LogsInThroughEachNicToItsTargetAndKeepsTheRecords) {
  EXPECT_EQ(adm("-m fw -l").code, ExitCode::success);
  ASSERT_EQ(daemon_.logins.size(), 1U);
  ASSERT_EQ(daemon_.logins[0].nodes.size(), 2U);
  for (const unsigned index : {0U, 1U}) {
    const db::NodeKey& node = daemon_.logins[0].nodes[index];
    EXPECT_EQ(node.address, "10.0." + std::to_string(index) + ".1");
    EXPECT_EQ(node.iface, "ibft" + std::to_string(index));
    EXPECT_EQ(store_->iface(node.iface)->settings.at("iface.hwaddress"), "52:54:00:00:00:0" + std::to_string(index));
    EXPECT_EQ(store_->iface(node.iface)->settings.at("iface.initiatorname"), "iqn.2026-11.example:booted");
    EXPECT_EQ(store_->node(node)->settings.at("node.startup"), "onboot");
  }
  EXPECT_EQ(store_->node(daemon_.logins[0].nodes[1])->settings.at("node.session.auth.password"), "a secret of boot");
}

TEST_F(AdmFirmware, AVlanIsToldFromTheNicBelowByItsAddress) {
  put("ethernet1/vlan", "5");
  EXPECT_EQ(adm("-m fw -l").code, ExitCode::success);
  EXPECT_EQ(store_->iface("ibft0")->settings.at("iface.ipaddress"), "");
  EXPECT_EQ(store_->iface("ibft1")->settings.at("iface.ipaddress"), "10.0.1.9");
}

TEST_F(AdmFirmware, BootsFromTheUnitsThatItNames) {
  put("target1/lun", "01000000");
  const auto firmware = read_boot_firmware(layout_.boot_firmware());
  ASSERT_TRUE(firmware);
  EXPECT_TRUE(boots_from(*firmware, disk, scsi::Lun{0}));
  EXPECT_TRUE(boots_from(*firmware, disk, scsi::Lun{1}));
  EXPECT_FALSE(boots_from(*firmware, disk, scsi::Lun{2}));
  EXPECT_FALSE(boots_from(*firmware, "iqn.2026-11.example:other", scsi::Lun{0}));
}

TEST_F(AdmFirmware, ASecondLookChangesWhatTheFirmwareDecidesAndNothingElse) {
  EXPECT_RAN(adm("-m discovery -t fw"), ExitCode::success, "10.0.0.1:3260,-1 " + disk + "\n10.0.1.1:3260,-1 " + disk + "\n", "");
  EXPECT_EQ(adm("-m node -o update -n node.session.timeo.replacement_timeout -v 7").code, ExitCode::success);
  put("target1/chap-secret", "another secret!!");
  EXPECT_EQ(adm("-m discovery -t fw").code, ExitCode::success);
  const auto nodes = store_->nodes({});
  ASSERT_EQ(nodes->size(), 2U);
  for (const auto& node : *nodes) EXPECT_EQ(node.settings.at("node.session.timeo.replacement_timeout"), "7");
  EXPECT_EQ(nodes->at(1).settings.at("node.session.auth.password"), "another secret!!");
}

TEST_F(AdmFirmware, WhatIsNotValidIsLeftOutAndNonsenseIsRefused) {
  put("target1/flags", "0");
  EXPECT_EQ(adm("-m fw -l").code, ExitCode::success);
  EXPECT_EQ(daemon_.logins.at(0).nodes.size(), 1U);
  put("target0/port", "70000");
  EXPECT_EQ(adm("-m fw").code, ExitCode::sysfs_lookup);
  put("target0/port", "3260");
  put("target0/nic-assoc", "4");
  EXPECT_EQ(adm("-m fw").code, ExitCode::sysfs_lookup);
}

TEST_F(Adm, WithoutFirmwareThereIsNothingToBootFrom) {
  EXPECT_RAN(adm("-m fw"), ExitCode::no_objects_found, "", "mpathadm: Could not get list of targets from firmware.\n");
  EXPECT_EQ(adm("-m discovery -t fw").code, ExitCode::no_objects_found);
}

}  // namespace
}  // namespace mpath::adm
