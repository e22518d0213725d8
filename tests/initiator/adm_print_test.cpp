// Listings, byte for byte: scripts take them apart. Where a text is that of a real iscsiadm, it was compared with one.
#include "initiator/mpathadm_print.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace mpath::adm {
namespace {

const std::string disk = "iqn.2003-01.org.example:disk1";

db::NodeKey key(std::string address, std::uint16_t port, int tpgt, std::string iface) {
  return {.target_name = disk, .address = std::move(address), .port = port, .tpgt = tpgt, .iface = std::move(iface)};
}

const std::vector<db::NodeKey> nodes{key("10.0.0.1", 3260, -1, "default"), key("10.0.0.1", 3261, 1, "default"), key("fe80::1", 3260, 2, "ieth0"),
                                     key("host.example", 3260, -1, "default")};

TEST(AdmPrint, NodesFlat) {
  EXPECT_EQ(nodes_flat(nodes, UnknownGroup::as_65535),
            "10.0.0.1:3260,65535 iqn.2003-01.org.example:disk1\n"
            "10.0.0.1:3261,1 iqn.2003-01.org.example:disk1\n"
            "[fe80::1]:3260,2 iqn.2003-01.org.example:disk1\n"
            "host.example:3260,65535 iqn.2003-01.org.example:disk1\n");
}

TEST(AdmPrint, DiscoveredNodesShowAnUnknownGroupAsMinusOne) {
  EXPECT_EQ(nodes_flat(std::span(nodes).first(1), UnknownGroup::as_minus_one), "10.0.0.1:3260,-1 iqn.2003-01.org.example:disk1\n");
}

TEST(AdmPrint, NodesTree) {
  EXPECT_EQ(nodes_tree(nodes, TreeStyle::node),
            "Target: iqn.2003-01.org.example:disk1\n"
            "\tPortal: 10.0.0.1:3260,-1\n"
            "\t\tIface Name: default\n"
            "\tPortal: 10.0.0.1:3261,1\n"
            "\t\tIface Name: default\n"
            "\tPortal: [fe80::1]:3260,2\n"
            "\t\tIface Name: ieth0\n"
            "\tPortal: host.example:3260,-1\n"
            "\t\tIface Name: default\n");
}

TEST(AdmPrint, PortalOfSeveralIfacesRepeatsInNodeModeAndNotInDiscovery) {
  const std::vector<db::NodeKey> two{key("10.0.0.1", 3260, 1, "ieth0"), key("10.0.0.1", 3260, 1, "ieth1")};
  EXPECT_EQ(nodes_tree(two, TreeStyle::node),
            "Target: iqn.2003-01.org.example:disk1\n"
            "\tPortal: 10.0.0.1:3260,1\n"
            "\t\tIface Name: ieth0\n"
            "\tPortal: 10.0.0.1:3260,1\n"
            "\t\tIface Name: ieth1\n");
  EXPECT_EQ(nodes_tree(two, TreeStyle::discovery),
            "Target: iqn.2003-01.org.example:disk1\n"
            "\tPortal: 10.0.0.1:3260,1\n"
            "\t\tIface Name: ieth0\n"
            "\t\tIface Name: ieth1\n");
}

TEST(AdmPrint, NodeAdded) {
  EXPECT_EQ(node_added(nodes[2], {{"iface.transport_name", "tcp"}, {"iface.net_ifacename", "eth0"}}),
            "New iSCSI node [tcp:[hw=,ip=,net_if=eth0,iscsi_if=ieth0] fe80::1,3260,2 iqn.2003-01.org.example:disk1] added\n");
}

TEST(AdmPrint, Ifaces) {
  const std::vector<db::IfaceRecord> ifaces{{"default", {{"iface.transport_name", "tcp"}}},
                                            {"ieth0", {{"iface.transport_name", "tcp"}, {"iface.net_ifacename", "eth0"}}}};
  EXPECT_EQ(ifaces_flat(ifaces),
            "default tcp,<empty>,<empty>,<empty>,<empty>\n"
            "ieth0 tcp,<empty>,<empty>,eth0,<empty>\n");
  EXPECT_EQ(ifaces_tree(ifaces, nodes),
            "Iface: default\n"
            "\tTarget: iqn.2003-01.org.example:disk1\n"
            "\t\tPortal: 10.0.0.1:3260,-1\n"
            "\t\tPortal: 10.0.0.1:3261,1\n"
            "\t\tPortal: host.example:3260,-1\n"
            "Iface: ieth0\n"
            "\tTarget: iqn.2003-01.org.example:disk1\n"
            "\t\tPortal: [fe80::1]:3260,2\n");
}

TEST(AdmPrint, Discoveries) {
  std::vector<db::DiscoveryRecord> records(2);
  records[0].key = {.type = "sendtargets", .address = "127.0.0.9", .port = 3260};
  records[0].found = {nodes[0]};
  records[1].key = {.type = "sendtargets", .address = "fe80::9", .port = 3260};
  EXPECT_EQ(discoveries_flat(records), "127.0.0.9:3260 via sendtargets\n[fe80::9]:3260 via sendtargets\n");
  EXPECT_EQ(discoveries_tree(records, std::span(nodes).first(2)),
            "SENDTARGETS:\n"
            "DiscoveryAddress: 127.0.0.9,3260\n"
            "Target: iqn.2003-01.org.example:disk1\n"
            "\tPortal: 10.0.0.1:3260,-1\n"
            "\t\tIface Name: default\n"
            "DiscoveryAddress: fe80::9,3260\n"
            "iSNS:\n"
            "No targets found.\n"
            "STATIC:\n"
            "Target: iqn.2003-01.org.example:disk1\n"
            "\tPortal: 10.0.0.1:3261,1\n"
            "\t\tIface Name: default\n"
            "FIRMWARE:\n"
            "No targets found.\n");
}

SessionReport session(unsigned sid, std::string address, std::string iface) {
  SessionReport report;
  report.sid = sid;
  report.node = key(address, 3260, 1, iface);
  report.phase = SessionPhase::logged_in;
  report.established = true;
  report.current_address = std::move(address);
  report.initiator_name = "iqn.2026-11.example:me";
  report.net_ifacename = iface == "default" ? "" : iface.substr(1);
  report.info.local_address = "10.0.0.2";
  report.info.portal_group = 1;
  report.info.max_xmit_data_segment_length = 8192;
  report.info.first_burst_length = 65536;
  report.info.max_burst_length = 262144;
  report.logins = 1;
  return report;
}

TEST(AdmPrint, SessionsFlat) {
  std::vector<SessionReport> sessions{session(1, "10.0.0.1", "ieth0"), session(2, "fe80::1", "ieth1")};
  sessions[1].info.portal_group = 0;  // not connected now: what the record knows
  EXPECT_EQ(sessions_flat(sessions),
            "tcp: [1] 10.0.0.1:3260,1 iqn.2003-01.org.example:disk1 (non-flash)\n"
            "tcp: [2] [fe80::1]:3260,1 iqn.2003-01.org.example:disk1 (non-flash)\n");
}

TEST(AdmPrint, SessionsTreeOfLevelOne) {
  const std::vector<SessionReport> sessions{session(1, "10.0.0.1", "ieth0")};
  EXPECT_EQ(sessions_tree(sessions, 1, "1.2.3"),
            "Target: iqn.2003-01.org.example:disk1 (non-flash)\n"
            "\tCurrent Portal: 10.0.0.1:3260,1\n"
            "\tPersistent Portal: 10.0.0.1:3260,1\n"
            "\t\t**********\n"
            "\t\tInterface:\n"
            "\t\t**********\n"
            "\t\tIface Name: ieth0\n"
            "\t\tIface Transport: tcp\n"
            "\t\tIface Initiatorname: iqn.2026-11.example:me\n"
            "\t\tIface IPaddress: 10.0.0.2\n"
            "\t\tIface HWaddress: <empty>\n"
            "\t\tIface Netdev: eth0\n"
            "\t\tSID: 1\n"
            "\t\tiSCSI Connection State: LOGGED IN\n"
            "\t\tiSCSI Session State: LOGGED_IN\n"
            "\t\tInternal iscsid Session State: NO CHANGE\n");
}

TEST(AdmPrint, SecondSessionOfAPortalHasABlankLineInThePortalsPlace) {
  const std::vector<SessionReport> sessions{session(1, "10.0.0.1", "ieth0"), session(2, "10.0.0.1", "ieth1"), session(3, "10.0.1.1", "ieth1")};
  const std::string text = sessions_tree(sessions, 1, "1.2.3");
  EXPECT_NE(text.find("NO CHANGE\n\n\t\t**********\n\t\tInterface:"), std::string::npos);
  EXPECT_NE(text.find("\tCurrent Portal: 10.0.1.1:3260,1\n"), std::string::npos);
  EXPECT_EQ(text.find("Target:"), text.rfind("Target:"));
}

TEST(AdmPrint, SessionsTreeOfLevelThree) {
  std::vector<SessionReport> sessions{session(1, "10.0.0.1", "default")};
  sessions[0].chap_name = "user";
  sessions[0].devices = {{.lun = 0, .name = "sda", .state = "running"}, {.lun = 1, .name = "", .state = "running"}};
  EXPECT_EQ(sessions_tree(sessions, 3, "1.2.3"),
            "iSCSI Transport Class version 1.2.3\n"
            "version 1.2.3\n"
            "Target: iqn.2003-01.org.example:disk1 (non-flash)\n"
            "\tCurrent Portal: 10.0.0.1:3260,1\n"
            "\tPersistent Portal: 10.0.0.1:3260,1\n"
            "\t\t**********\n"
            "\t\tInterface:\n"
            "\t\t**********\n"
            "\t\tIface Name: default\n"
            "\t\tIface Transport: tcp\n"
            "\t\tIface Initiatorname: iqn.2026-11.example:me\n"
            "\t\tIface IPaddress: 10.0.0.2\n"
            "\t\tIface HWaddress: <empty>\n"
            "\t\tIface Netdev: <empty>\n"
            "\t\tSID: 1\n"
            "\t\tiSCSI Connection State: LOGGED IN\n"
            "\t\tiSCSI Session State: LOGGED_IN\n"
            "\t\tInternal iscsid Session State: NO CHANGE\n"
            "\t\t*********\n"
            "\t\tTimeouts:\n"
            "\t\t*********\n"
            "\t\tRecovery Timeout: 120\n"
            "\t\tTarget Reset Timeout: 30\n"
            "\t\tLUN Reset Timeout: 30\n"
            "\t\tAbort Timeout: 15\n"
            "\t\t*****\n"
            "\t\tCHAP:\n"
            "\t\t*****\n"
            "\t\tusername: user\n"
            "\t\tpassword: ********\n"
            "\t\tusername_in: <empty>\n"
            "\t\tpassword_in: ********\n"
            "\t\t************************\n"
            "\t\tNegotiated iSCSI params:\n"
            "\t\t************************\n"
            "\t\tHeaderDigest: None\n"
            "\t\tDataDigest: None\n"
            "\t\tMaxRecvDataSegmentLength: 262144\n"
            "\t\tMaxXmitDataSegmentLength: 8192\n"
            "\t\tFirstBurstLength: 65536\n"
            "\t\tMaxBurstLength: 262144\n"
            "\t\tImmediateData: Yes\n"
            "\t\tInitialR2T: No\n"
            "\t\tMaxOutstandingR2T: 1\n"
            "\t\t************************\n"
            "\t\tAttached SCSI devices:\n"
            "\t\t************************\n"
            "\t\tHost Number: 1\tState: running\n"
            "\t\tscsi1 Channel 00 Id 0 Lun: 0\n"
            "\t\t\tAttached scsi disk sda\t\tState: running\n"
            "\t\tscsi1 Channel 00 Id 0 Lun: 1\n");
}

TEST(AdmPrint, SecretsShowOnlyWhenAskedFor) {
  const std::vector<SessionReport> sessions{session(1, "10.0.0.1", "default")};
  const std::string text = sessions_tree(sessions, 2, "1", [](const db::NodeKey&) { return Secrets{"open", "sesame"}; });
  EXPECT_NE(text.find("\t\tpassword: open\n"), std::string::npos);
  EXPECT_NE(text.find("\t\tpassword: sesame\n"), std::string::npos);
  EXPECT_EQ(text.find("********\n\t\tusername_in"), std::string::npos);
}

TEST(AdmPrint, LostSessionIsBeingReopened) {
  std::vector<SessionReport> sessions{session(1, "10.0.0.1", "default")};
  sessions[0].phase = SessionPhase::waiting;
  const std::string text = sessions_tree(sessions, 2, "1");
  EXPECT_NE(text.find("iSCSI Connection State: TRANSPORT WAIT\n"), std::string::npos);
  EXPECT_NE(text.find("iSCSI Session State: FAILED\n"), std::string::npos);
  EXPECT_NE(text.find("Internal iscsid Session State: REOPEN\n"), std::string::npos);
  EXPECT_EQ(text.find("HeaderDigest:"), std::string::npos);
}

TEST(AdmPrint, StatsHaveEveryCounterOfTheFamiliarTool) {
  SessionReport report = session(4, "10.0.0.1", "default");
  report.counters.tx_bytes = 1000;
  report.counters.commands = 7;
  const std::string text = session_stats(report);
  EXPECT_TRUE(text.starts_with("Stats for session [sid: 4, target: iqn.2003-01.org.example:disk1, portal: 10.0.0.1,3260]\n"
                               "iSCSI SNMP:\n"
                               "\ttxdata_octets: 1000\n"
                               "\trxdata_octets: 0\n"
                               "\tnoptx_pdus: 0\n"
                               "\tscsicmd_pdus: 7\n"));
  for (const char* name : {"tmfcmd", "login", "text", "dataout", "logout", "snack", "noprx", "scsirsp", "tmfrsp", "textrsp", "datain", "logoutrsp",
                           "r2t", "async", "rjt"}) {
    EXPECT_NE(text.find(std::string("\t") + name + "_pdus: "), std::string::npos) << name;
  }
  EXPECT_NE(text.find("\tdigest_err: 0\n\ttimeout_err: 0\niSCSI Extended:\n"), std::string::npos);
}

TEST(AdmPrint, Brackets) {
  EXPECT_EQ(node_brackets(nodes[0]), "[iface: default, target: iqn.2003-01.org.example:disk1, portal: 10.0.0.1,3260]");
  EXPECT_EQ(session_brackets(3, nodes[0]), "[sid: 3, target: iqn.2003-01.org.example:disk1, portal: 10.0.0.1,3260]");
}

TEST(AdmPrint, JsonMasksSecrets) {
  const db::Settings settings{{"node.session.auth.password", "x"}, {"node.session.auth.password_in", ""}, {"node.startup", "manual"}};
  const auto masked = settings_json(settings, false);
  EXPECT_EQ(masked["node.session.auth.password"], "********");
  EXPECT_EQ(masked["node.session.auth.password_in"], "");
  EXPECT_EQ(masked["node.startup"], "manual");
  EXPECT_EQ(settings_json(settings, true)["node.session.auth.password"], "x");
}

TEST(SessionReportJson, SurvivesTheWay) {
  SessionReport report = session(9, "10.0.0.1", "ieth0");
  report.phase = SessionPhase::waiting;
  report.last_failure = "connection refused";
  report.counters.rx_bytes = 5;
  report.devices = {{.lun = 3, .name = "sdb", .state = "offline"}};
  const auto back = session_report_from_json(to_json(report));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_json(*back), to_json(report));
}

TEST(SessionReportJson, MissingFieldIsAProtocolError) {
  for (const char* field : {"sid", "node", "state", "parameters", "counters", "devices"}) {
    nlohmann::json json = to_json(session(1, "10.0.0.1", "default"));
    json.erase(field);
    EXPECT_EQ(session_report_from_json(json).error(), std::errc::protocol_error) << field;
  }
  EXPECT_FALSE(session_report_from_json(nlohmann::json::array()));
}

}  // namespace
}  // namespace mpath::adm
