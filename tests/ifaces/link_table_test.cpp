// rtnetlink messages that a machine seldom sends, made by hand.
#include "ifaces/link_table.hpp"

#include <gtest/gtest.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <cstring>

namespace mpath {
namespace {

struct FreeMessage {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, FreeMessage>;

Message link(int type, int index, const char* name, int family = AF_UNSPEC, unsigned flags = 0) {
  Message message(nlmsg_alloc_simple(type, 0));
  ifinfomsg info{};
  info.ifi_family = static_cast<unsigned char>(family);
  info.ifi_index = index;
  info.ifi_flags = flags;
  nlmsg_append(message.get(), &info, sizeof info, NLMSG_ALIGNTO);
  if (name != nullptr) nla_put_string(message.get(), IFLA_IFNAME, name);
  const unsigned char mac[6] = {2, 0, 0, 0, 0, 1};
  nla_put(message.get(), IFLA_ADDRESS, sizeof mac, mac);
  return message;
}

Message address(int type, unsigned index, unsigned char last, std::uint32_t flags = 0) {
  Message message(nlmsg_alloc_simple(type, 0));
  ifaddrmsg info{};
  info.ifa_family = AF_INET;
  info.ifa_prefixlen = 24;
  info.ifa_index = index;
  nlmsg_append(message.get(), &info, sizeof info, NLMSG_ALIGNTO);
  const unsigned char bytes[4] = {10, 0, 0, last};
  nla_put(message.get(), IFA_LOCAL, sizeof bytes, bytes);
  nla_put_u32(message.get(), IFA_FLAGS, flags);
  return message;
}

unsigned tell(LinkTable& table, const Message& message) {
  return table.apply(*nlmsg_hdr(message.get()));
}

TEST(LinkTable, LeavingABridgeIsNotLeavingTheMachine) {
  LinkTable table;
  EXPECT_EQ(tell(table, link(RTM_NEWLINK, 3, "eth0", AF_UNSPEC, IFF_UP)), 3u);
  EXPECT_EQ(tell(table, link(RTM_DELLINK, 3, "eth0", AF_BRIDGE)), 0u);
  ASSERT_NE(table.find("eth0"), nullptr);
  EXPECT_EQ(table.find("eth0")->mac, "02:00:00:00:00:01");
  EXPECT_EQ(tell(table, link(RTM_DELLINK, 3, "eth0")), 3u);
  EXPECT_EQ(table.find("eth0"), nullptr);
}

TEST(LinkTable, AddressUnderDuplicateDetectionIsNotUsableYet) {
  LinkTable table;
  tell(table, link(RTM_NEWLINK, 3, "eth0"));
  tell(table, address(RTM_NEWADDR, 3, 1, IFA_F_TENTATIVE));
  EXPECT_FALSE(table.find(3u)->has_address());
  tell(table, address(RTM_NEWADDR, 3, 1));
  EXPECT_TRUE(table.find(3u)->has_address());
  tell(table, address(RTM_DELADDR, 3, 1));
  EXPECT_TRUE(table.find(3u)->addresses.empty());
}

TEST(LinkTable, DumpForgetsWhatItDoesNotTell) {
  LinkTable table;
  tell(table, link(RTM_NEWLINK, 3, "eth0"));
  tell(table, link(RTM_NEWLINK, 4, "eth1"));
  tell(table, address(RTM_NEWADDR, 4, 1));
  tell(table, address(RTM_NEWADDR, 4, 2));
  table.begin_dump();
  tell(table, link(RTM_NEWLINK, 4, "eth1"));
  tell(table, address(RTM_NEWADDR, 4, 2));
  table.end_dump();
  EXPECT_EQ(table.find(3u), nullptr);
  ASSERT_EQ(table.find(4u)->addresses.size(), 1u);
  EXPECT_EQ(table.find(4u)->addresses[0].address, "10.0.0.2");
}

TEST(LinkTable, AddressesAloneMakeNoDevice) {
  LinkTable table;
  tell(table, address(RTM_NEWADDR, 9, 1));
  EXPECT_EQ(table.find(9u), nullptr);
  EXPECT_TRUE(table.nics().empty());
}

TEST(LinkTable, CutMessagesAreHarmless) {
  for (const Message& whole : {link(RTM_NEWLINK, 3, "eth0"), address(RTM_NEWADDR, 3, 1)}) {
    const nlmsghdr* header = nlmsg_hdr(whole.get());
    for (std::uint32_t length = sizeof(nlmsghdr); length < header->nlmsg_len; ++length) {
      std::vector<char> bytes(length);  // exact size: reading on is seen by the sanitizers
      std::memcpy(bytes.data(), header, length);
      reinterpret_cast<nlmsghdr*>(bytes.data())->nlmsg_len = length;
      LinkTable table;
      table.apply(*reinterpret_cast<const nlmsghdr*>(bytes.data()));
    }
  }
}

}  // namespace
}  // namespace mpath
