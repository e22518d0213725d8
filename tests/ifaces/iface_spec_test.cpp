// The rules that turn an iface record into a binding, against invented machines.
#include "ifaces/iface_spec.hpp"

#include <gtest/gtest.h>

namespace mpath {
namespace {

Nic nic(unsigned index, std::string name, std::string mac) {
  Nic made;
  made.index = index;
  made.name = std::move(name);
  made.mac = std::move(mac);
  return made;
}

// eth0 and eth1 with an address each; eth2 and eth3 in bond0; VLAN 7 on eth0; two macvlan-like twins.
std::vector<Nic> machine() {
  std::vector<Nic> all;
  Nic lo = nic(1, "lo", "00:00:00:00:00:00");
  lo.loopback = true;
  all.push_back(lo);
  all.push_back(nic(2, "eth0", "02:00:00:00:00:01"));
  all.back().addresses = {{.address = "10.0.0.1", .prefix_length = 24}};
  all.push_back(nic(3, "eth1", "02:00:00:00:00:02"));
  for (unsigned i : {4u, 5u}) {
    all.push_back(nic(i, "eth" + std::to_string(i - 2), "02:00:00:00:00:03"));
    all.back().master = 6;
    all.back().permanent_mac = i == 5 ? "02:00:00:00:00:99" : "02:00:00:00:00:03";
  }
  all.push_back(nic(6, "bond0", "02:00:00:00:00:03"));
  all.push_back(nic(7, "eth0.7", "02:00:00:00:00:01"));
  all.back().lower = 2;
  all.back().addresses = {{.address = "10.0.7.1", .prefix_length = 24}};
  all.push_back(nic(8, "twin0", "02:00:00:00:00:08"));
  all.push_back(nic(9, "twin1", "02:00:00:00:00:08"));
  return all;
}

struct Row {
  const char* name;
  IfaceSpec spec;
  std::error_code error;  // none: resolves to
  const char* device = "";
};

class Resolve : public ::testing::TestWithParam<Row> {};

TEST_P(Resolve, FollowsTheRules) {
  const auto binding = resolve(GetParam().spec, machine());
  if (GetParam().error) {
    ASSERT_FALSE(binding);
    EXPECT_EQ(binding.error(), GetParam().error);
    const std::string line = describe(GetParam().spec, binding.error());
    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_TRUE(line.starts_with("iface " + GetParam().spec.name + ": ")) << line;
    return;
  }
  ASSERT_TRUE(binding) << binding.error().message();
  EXPECT_EQ(binding->net_ifacename, GetParam().device);
  EXPECT_EQ(binding->iface_name, GetParam().spec.name);
  EXPECT_EQ(binding->source_address, GetParam().spec.ipaddress);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Resolve,
    ::testing::Values(
        Row{"Default", {}, {}, ""}, Row{"NoDevice", {.name = "i"}, {}, ""},
        Row{"ByName", {.name = "i", .net_ifacename = "eth1"}, {}, "eth1"},
        Row{"ByMac", {.name = "i", .hwaddress = "02:00:00:00:00:02"}, {}, "eth1"},
        Row{"ByMacInCapitals", {.name = "i", .hwaddress = "02:00:00:00:00:02"}, {}, "eth1"},
        Row{"MacOfABondIsTheBond", {.name = "i", .hwaddress = "02:00:00:00:00:03"}, {}, "bond0"},
        Row{"MacOfAVlanIsTheNicBelow", {.name = "i", .hwaddress = "02:00:00:00:00:01"}, {}, "eth0"},
        Row{"MacAndAddressOfAVlanAreTheVlan", {.name = "i", .hwaddress = "02:00:00:00:00:01", .ipaddress = "10.0.7.1"}, {}, "eth0.7"},
        Row{"PermanentMac", {.name = "i", .hwaddress = "02:00:00:00:00:99"}, {}, "eth3"},
        Row{"WithAddress", {.name = "i", .net_ifacename = "eth0", .ipaddress = "10.0.0.1"}, {}, "eth0"},
        Row{"AddressAlone", {.name = "i", .ipaddress = "10.0.0.1"}, {}, ""},
        Row{"UnknownName", {.name = "i", .net_ifacename = "eth9"}, IfaceErrc::no_such_nic},
        Row{"UnknownMac", {.name = "i", .hwaddress = "02:00:00:00:00:77"}, IfaceErrc::no_such_nic},
        Row{"LoopbackHasNoMac", {.name = "i", .hwaddress = "00:00:00:00:00:00"}, IfaceErrc::no_such_nic},
        Row{"Twins", {.name = "i", .hwaddress = "02:00:00:00:00:08"}, IfaceErrc::ambiguous},
        Row{"Both", {.name = "i", .net_ifacename = "eth1", .hwaddress = "02:00:00:00:00:02"}, IfaceErrc::named_twice},
        Row{"Iser", {.name = "i", .net_ifacename = "eth1", .transport_name = "iser"}, IfaceErrc::unsupported_transport},
        Row{"AddressElsewhere", {.name = "i", .net_ifacename = "eth1", .ipaddress = "10.0.0.1"}, IfaceErrc::no_address},
        Row{"AddressNowhere", {.name = "i", .ipaddress = "10.0.0.9"}, IfaceErrc::no_address}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(IfaceSpec, IsReadFromARecord) {
  const IfaceSpec spec = make_iface_spec({{"iface.iscsi_ifacename", "ieth0"},
                                          {"iface.net_ifacename", "eth0"},
                                          {"iface.initiatorname", "iqn.x:y"},
                                          {"node.startup", "manual"}});
  EXPECT_EQ(spec, (IfaceSpec{.name = "ieth0", .net_ifacename = "eth0", .initiatorname = "iqn.x:y"}));
  EXPECT_EQ(make_iface_spec({}), IfaceSpec{});
}

}  // namespace
}  // namespace mpath
