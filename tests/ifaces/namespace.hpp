// A network namespace for every test, with nothing in it but loopback. As root a plain one; otherwise inside a user
// namespace, which the process then stays in.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace mpath {

class NamespaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    outside_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    const std::string missing = enter();
    if (!missing.empty()) GTEST_SKIP() << missing;
    ip("link set lo up");
  }
  void TearDown() override {
    if (outside_ >= 0) {
      static_cast<void>(::setns(outside_, CLONE_NEWNET));
      ::close(outside_);
    }
  }

  // Runs `ip ARGUMENTS` in the namespace; the test fails when that does.
  static void ip(const std::string& arguments) {
    const std::string command = "ip " + arguments;
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
  }
  // Two ends of one cable, both up.
  static void cable(const std::string& one, const std::string& other) {
    ip("link add " + one + " type veth peer name " + other);
    ip("link set " + one + " up");
    ip("link set " + other + " up");
  }

 private:
  // What is missing; empty when the thread is in a new namespace.
  static std::string enter() {
    if (std::system("ip -V >/dev/null 2>&1") != 0) return "needs the ip tool (package iproute2)";
    if (::unshare(CLONE_NEWNET) == 0) return can_make_veth();
    const auto uid = ::getuid();
    const auto gid = ::getgid();
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      return std::string("needs user and network namespaces: unshare: ") + std::strerror(errno);
    }
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
    return can_make_veth();
  }
  static std::string can_make_veth() {
    if (std::system("ip link add probe0 type veth peer name probe1 2>/dev/null") != 0) {
      return "needs virtual ethernet pairs (kernel module veth)";
    }
    ip("link del probe0");
    return {};
  }

  int outside_ = -1;
};

}  // namespace mpath
