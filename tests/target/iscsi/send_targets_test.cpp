#include "target/iscsi/send_targets.hpp"

#include <gtest/gtest.h>

#include <string>

namespace mpath::target {
namespace {

std::shared_ptr<TargetView> target(std::string name, std::vector<PortalGroupView> groups) {
  auto view = std::make_shared<TargetView>();
  view->name = std::move(name);
  view->groups = std::move(groups);
  return view;
}

class SendTargets : public testing::Test {
 protected:
  SendTargets() {
    view_.targets = {
        target("iqn.x:a", {{.tag = 1, .portals = {{.host = "0.0.0.0"}, {.host = "::"}, {.host = "10.0.0.2"}}},
                           {.tag = 2, .portals = {{.host = "10.9.0.1", .port = 3261}}, .peer = true}}),
        target("iqn.x:b", {{.tag = 7, .portals = {{.host = "fe80::7"}}}}),
        hidden("iqn.x:hidden"),
        target("iqn.x:nowhere",
               {{.tag = 1, .portals = {{.host = "::"}}}, {.tag = 2, .portals = {{.host = "0.0.0.0"}}, .peer = true}}),
    };
  }
  static std::shared_ptr<TargetView> hidden(std::string name) {
    auto view = target(std::move(name), {{.tag = 1, .portals = {{.host = "0.0.0.0"}}}});
    view->access.initiators = {"iqn.x:friend"};
    return view;
  }
  std::string ask(std::string_view value, const TargetView* logged_in = nullptr) const {
    const SendTargetsAsker asker{
        .initiator = initiator_, .address = "10.0.0.9", .came_to = {.host = "10.0.0.2"}, .logged_in = logged_in};
    std::string text;
    for (const auto& [key, word] : answer_send_targets(value, view_, asker)) text += key + "=" + word + "\n";
    return text;
  }

  std::string initiator_ = "iqn.x:me";
  TargetsView view_;
};

constexpr const char* a_text =
    "TargetName=iqn.x:a\n"
    "TargetAddress=10.0.0.2:3260,1\n"  // once, though it is listened on and named
    "TargetAddress=10.9.0.1:3261,2\n";
constexpr const char* b_text =
    "TargetName=iqn.x:b\n"
    "TargetAddress=[fe80::7]:3260,7\n";

TEST_F(SendTargets, AllShowsWhatTheAskerMayLogInTo) {
  EXPECT_EQ(ask("All"), std::string(a_text) + b_text);
}

TEST_F(SendTargets, AllShowsMoreToAFriend) {
  initiator_ = "iqn.x:friend";
  EXPECT_EQ(ask("All"), std::string(a_text) + b_text + "TargetName=iqn.x:hidden\nTargetAddress=10.0.0.2:3260,1\n");
}

TEST_F(SendTargets, ANameShowsThatTarget) {
  EXPECT_EQ(ask("iqn.x:b"), b_text);
  EXPECT_EQ(ask("iqn.x:hidden"), "");
  EXPECT_EQ(ask("iqn.x:nowhere"), "");
  EXPECT_EQ(ask("iqn.x:missing"), "");
}

TEST_F(SendTargets, ANormalSessionHearsOfItsOwnTargetOnly) {
  const TargetView* own = view_.targets[0].get();
  EXPECT_EQ(ask("", own), a_text);
  EXPECT_EQ(ask("iqn.x:a", own), a_text);
  EXPECT_EQ(ask("iqn.x:b", own), "");
}

TEST_F(SendTargets, WhatTheSessionDoesNotAllowIsRejected) {
  EXPECT_EQ(ask(""), "SendTargets=Reject\n");
  EXPECT_EQ(ask("All", view_.targets[0].get()), "SendTargets=Reject\n");
}

}  // namespace
}  // namespace mpath::target
