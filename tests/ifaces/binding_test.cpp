// Bindings on real sockets, in a namespace of its own.
#include "ifaces/binding.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/unique_fd.hpp"
#include "ifaces/iface_spec.hpp"
#include "namespace.hpp"

namespace mpath {
namespace {

class BindingTest : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    if (IsSkipped()) return;
    cable("ve0", "ve1");
    ip("link set ve0 address 02:00:00:00:00:0a");
    ip("addr add 10.9.0.1/24 dev ve0");
    ip("addr add 2001:db8::1/64 dev ve0 nodad");
  }
  static UniqueFd tcp(int family = AF_INET) { return UniqueFd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)); }
};

TEST_F(BindingTest, SocketLeavesByTheDevice) {
  const Binding binding{.iface_name = "i0", .net_ifacename = "ve0"};
  const auto fd = tcp();
  EXPECT_FALSE(socket_is_bound(fd.get(), binding));
  ASSERT_FALSE(bind_socket(fd.get(), binding));
  EXPECT_TRUE(socket_is_bound(fd.get(), binding));
  EXPECT_FALSE(socket_is_bound(fd.get(), {.iface_name = "i1", .net_ifacename = "ve1"}));
}

TEST_F(BindingTest, DefaultBindsToNothing) {
  const auto fd = tcp();
  EXPECT_FALSE(bind_socket(fd.get(), {}));
  EXPECT_TRUE(socket_is_bound(fd.get(), {}));
}

TEST_F(BindingTest, UnknownDeviceIsAnError) {
  const auto fd = tcp();
  EXPECT_EQ(bind_socket(fd.get(), {.net_ifacename = "nothing0"}), std::errc::no_such_device);
  EXPECT_EQ(bind_socket(fd.get(), {.net_ifacename = "a-name-longer-than-any-device"}), std::errc::no_such_device);
}

TEST_F(BindingTest, BindingFollowsARename) {
  const auto fd = tcp();
  ASSERT_FALSE(bind_socket(fd.get(), {.net_ifacename = "ve0"}));
  ip("link set ve0 name storage0");
  EXPECT_TRUE(socket_is_bound(fd.get(), {.net_ifacename = "storage0"}));
}

TEST_F(BindingTest, DeletedDeviceIsNoBinding) {
  const auto fd = tcp();
  ASSERT_FALSE(bind_socket(fd.get(), {.net_ifacename = "ve0"}));
  ip("link del ve0");
  EXPECT_FALSE(socket_is_bound(fd.get(), {.net_ifacename = "ve0"}));
}

TEST_F(BindingTest, SourceAddressIsSet) {
  for (const auto& [family, address] : {std::pair{AF_INET, "10.9.0.1"}, std::pair{AF_INET6, "2001:db8::1"}}) {
    const Binding binding{.net_ifacename = "ve0", .source_address = address};
    const auto fd = tcp(family);
    const error_code error = bind_socket(fd.get(), binding);
    ASSERT_FALSE(error) << address << ": " << error.message();
    EXPECT_TRUE(socket_is_bound(fd.get(), binding));
  }
}

TEST_F(BindingTest, WrongSourceAddressIsAnError) {
  EXPECT_EQ(bind_socket(tcp().get(), {.source_address = "10.9.0.99"}), std::errc::address_not_available);
  EXPECT_EQ(bind_socket(tcp().get(), {.source_address = "2001:db8::1"}), std::errc::address_family_not_supported);
  EXPECT_EQ(bind_socket(tcp(AF_INET6).get(), {.source_address = "10.9.0.1"}), std::errc::address_family_not_supported);
}

TEST_F(BindingTest, ConnectionUsesTheDeviceOnly) {
  const auto listener = tcp();
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), raw, length), 0);
  ASSERT_EQ(::listen(listener.get(), 4), 0);
  ASSERT_EQ(::getsockname(listener.get(), raw, &length), 0);
  const auto through_lo = tcp();
  ASSERT_FALSE(bind_socket(through_lo.get(), {.net_ifacename = "lo"}));
  EXPECT_EQ(::connect(through_lo.get(), raw, length), 0);
  const UniqueFd through_cable(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ASSERT_FALSE(bind_socket(through_cable.get(), {.net_ifacename = "ve0"}));
  EXPECT_NE(::connect(through_cable.get(), raw, length), 0) << "loopback is not behind ve0";
}

TEST_F(BindingTest, NeedsNoPrivilege) {
  const pid_t child = ::fork();
  if (child == 0) {
    // Without capabilities from here on (a user that is not mapped cannot be taken: then only root's way is tested).
    static_cast<void>(::setresuid(65534, 65534, 65534));
    const auto fd = tcp();
    ::_exit(bind_socket(fd.get(), {.net_ifacename = "ve0"}) ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "needs Linux 5.7 or later";
}

TEST_F(BindingTest, RecordsResolveToDevicesOfThisNamespace) {
  const auto by_name = resolve(IfaceSpec{.name = "i0", .net_ifacename = "ve0"});
  ASSERT_TRUE(by_name) << by_name.error().message();
  EXPECT_EQ(by_name->net_ifacename, "ve0");
  const auto by_mac = resolve(IfaceSpec{.name = "i0", .hwaddress = "02:00:00:00:00:0A", .ipaddress = "10.9.0.1"});
  ASSERT_TRUE(by_mac) << by_mac.error().message();
  EXPECT_EQ(*by_mac, (Binding{.iface_name = "i0", .net_ifacename = "ve0", .source_address = "10.9.0.1"}));
  EXPECT_EQ(resolve(IfaceSpec{.net_ifacename = "nothing0"}).error(), IfaceErrc::no_such_nic);
  EXPECT_EQ(resolve(IfaceSpec{.net_ifacename = "ve1", .ipaddress = "10.9.0.1"}).error(), IfaceErrc::no_address);
}

}  // namespace
}  // namespace mpath
