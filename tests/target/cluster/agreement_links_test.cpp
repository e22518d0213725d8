#include "target/cluster/agreement_links.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <boost/asio/ip/udp.hpp>
#include <boost/asio/post.hpp>
#include <fstream>
#include <memory>

#include "target/cluster/cluster_key.hpp"
#include "tests/target/cluster/world.hpp"

namespace mpath::target::cluster {
namespace {

namespace asio = boost::asio;
using asio::ip::udp;
using test::loopback;
using testing::AllOf;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

const Key ours = key_of("the key of these tests, long enough");
const Key older = key_of("the key of before, which was as long");

Message beat(Member from, std::uint64_t id, std::uint64_t incarnation = 1) {
  return {.from = from, .incarnation = incarnation, .decided = {}, .body = Beat{.lease_id = id}};
}

// A member with its links, and what it heard.
struct End {
  std::vector<std::uint64_t> heard;
  std::unique_ptr<AgreementLinks> links;

  void say(Member self, Member to, std::uint64_t id, std::uint64_t incarnation = 1) const {
    links->send(to, beat(self, id, incarnation));
  }
};

class Links : public test::World {
 protected:
  std::unique_ptr<End> end(AgreementLinksOptions options) {
    auto made = std::make_unique<End>();
    if (options.keys.empty()) options.keys = {ours};
    const auto receive = [heard = &made->heard](const Message& message) {
      heard->push_back(std::get<Beat>(message.body).lease_id);
    };
    made->links = std::make_unique<AgreementLinks>(context_, clock_, std::move(options), receive, log_);
    const auto opened = made->links->open();
    EXPECT_TRUE(opened) << opened.error();
    return made;
  }
  static AgreementLinksOptions of_a(unsigned count) {
    return {.self = Member::a,
            .incarnation = 1,
            .links = make_links(Member::a, lists(1, count), lists(2, count), {}),
            .keys = {}};
  }
  static AgreementLinksOptions of_b(unsigned count) {
    return {.self = Member::b,
            .incarnation = 1,
            .links = make_links(Member::b, lists(1, count), lists(2, count), {}),
            .keys = {}};
  }
  static std::vector<Portal> lists(unsigned member, unsigned count) {
    std::vector<Portal> all;
    for (unsigned link = 0; link < count; ++link) all.push_back(loopback(member, link));
    return all;
  }
  static std::uint64_t sum(const AgreementLinks& links, std::uint64_t LinkStatus::* what) {
    std::uint64_t total = 0;
    for (const LinkStatus& each : links.status()) total += each.*what;
    return total;
  }
  // Somebody who has a socket and bytes.
  udp::socket stranger(const Portal& from) {
    udp::socket socket(context_);
    const udp::endpoint local(asio::ip::make_address(from.address), from.port);
    socket.open(local.protocol());
    socket.bind(local);
    return socket;
  }
  static void put(udp::socket& socket, const Portal& to, const std::vector<std::byte>& bytes) {
    const udp::endpoint remote(asio::ip::make_address(to.address), to.port);
    socket.send_to(asio::buffer(bytes), remote);
  }
  // All that was sent before has been looked at: what is sent on loopback is there when the call has returned.
  void settle(End& at) { at.links->drain(); }
};

TEST_F(Links, EveryLinkCarriesEveryMessageAndEachIsTakenOnce) {
  const auto a = end(of_a(2));
  const auto b = end(of_b(2));
  for (std::uint64_t id = 1; id <= 100; ++id) {
    a->say(Member::a, Member::b, id);
    settle(*b);
  }
  ASSERT_EQ(b->heard.size(), 100U);
  EXPECT_EQ(b->heard.back(), 100U);
  EXPECT_EQ(sum(*a->links, &LinkStatus::sent), 200U);
  EXPECT_EQ(sum(*b->links, &LinkStatus::received), 200U);
  EXPECT_EQ(sum(*b->links, &LinkStatus::refused), 0U);
  b->say(Member::b, Member::a, 7);
  EXPECT_TRUE(until([&] { return !a->heard.empty(); }));
  EXPECT_THAT(a->heard, ElementsAre(7));
}

TEST_F(Links, StatusSaysWhichIsHeard) {
  const auto a = end(of_a(2));
  const auto b = end(of_b(1));
  b->say(Member::b, Member::a, 1);
  settle(*a);
  const auto status = a->links->status();
  ASSERT_EQ(status.size(), 2U);
  EXPECT_TRUE(status[0].heard);
  EXPECT_FALSE(status[1].heard);
  EXPECT_EQ(status[0].remote, fmt::format("{}:7788", loopback(2, 0).address));
  EXPECT_EQ(status[1].local, fmt::format("{}:7788", loopback(1, 1).address));
  // Both fall silent, the second one never spoke.
  EXPECT_TRUE(until([&] { return !a->links->status()[0].heard; }));
  a->links->watch();
  EXPECT_TRUE(sink_.contains(loopback(2, 0).address + ":7788: silent"));
  EXPECT_TRUE(sink_.contains(loopback(2, 1).address + ":7788: not heard yet"));
  b->say(Member::b, Member::a, 2);
  settle(*a);
  a->links->watch();
  EXPECT_TRUE(sink_.contains(loopback(2, 0).address + ":7788: heard"));
}

TEST_F(Links, RefuseWhatIsRepeatedForgedDamagedOrReflected) {
  const auto b = end(of_b(1));
  auto socket = stranger(loopback(1));
  const Portal to = loopback(2);
  const auto good = encode({.number = 5, .message = beat(Member::a, 5)}, &ours);
  put(socket, to, good);
  put(socket, to, good);
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(5));
  EXPECT_EQ(sum(*b->links, &LinkStatus::refused), 1U);

  std::vector<std::vector<std::byte>> bad;
  bad.push_back(encode({.number = 6, .message = beat(Member::a, 6)}, &older));
  bad.push_back(encode({.number = 7, .message = beat(Member::a, 7)}, nullptr));
  bad.push_back(encode({.number = 8, .message = beat(Member::b, 8)}, &ours));  // our own
  for (std::size_t at = 0; at < good.size(); ++at) {
    auto changed = encode({.number = 9, .message = beat(Member::a, 9)}, &ours);
    changed[at] ^= std::byte{1};
    bad.push_back(changed);
  }
  bad.emplace_back();
  bad.emplace_back(1);
  bad.emplace_back(9000);
  auto cut = encode({.number = 10, .message = beat(Member::a, 10)}, &ours);
  cut.pop_back();
  bad.push_back(cut);
  std::uint64_t refused = 1;
  for (const auto& bytes : bad) {
    put(socket, to, bytes);
    settle(*b);
    ASSERT_EQ(sum(*b->links, &LinkStatus::refused), ++refused);
  }
  EXPECT_THAT(b->heard, ElementsAre(5));
  EXPECT_TRUE(sink_.contains("frame refused"));
  // Nothing of that has moved the window.
  put(socket, to, encode({.number = 6, .message = beat(Member::a, 6)}, &ours));
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(5, 6));
}

TEST_F(Links, KeyIsChangedWithoutAPause) {
  auto options = of_b(1);
  options.keys = {ours, older};
  const auto b = end(std::move(options));
  auto socket = stranger(loopback(1));
  put(socket, loopback(2), encode({.number = 1, .message = beat(Member::a, 1)}, &older));
  put(socket, loopback(2), encode({.number = 2, .message = beat(Member::a, 2)}, &ours));
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(1, 2));
  // It sends with the new one.
  b->say(Member::b, Member::a, 3);
  std::vector<std::byte> bytes(2000);
  socket.non_blocking(true);
  boost::system::error_code error;
  bytes.resize(socket.receive(asio::buffer(bytes), 0, error));
  ASSERT_FALSE(error) << error.message();
  EXPECT_TRUE(decode(bytes, &ours));
  EXPECT_FALSE(decode(bytes, &older));
}

TEST_F(Links, OlderLivesOfASenderAreOver) {
  const auto b = end(of_b(1));
  auto socket = stranger(loopback(1));
  put(socket, loopback(2), encode({.number = 40, .message = beat(Member::a, 1, 100)}, &ours));
  put(socket, loopback(2), encode({.number = 1, .message = beat(Member::a, 2, 101)}, &ours));
  put(socket, loopback(2), encode({.number = 41, .message = beat(Member::a, 3, 100)}, &ours));
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(1, 2));
  EXPECT_EQ(sum(*b->links, &LinkStatus::refused), 1U);
}

TEST_F(Links, AddressThatIsNotThereYetIsTriedAgain) {
  // Somebody has it first: like an interface that comes up late, the bind fails until then.
  auto holder = std::make_unique<udp::socket>(stranger(loopback(2, 0)));
  const auto a = end(of_a(2));
  const auto b = end(of_b(2));
  EXPECT_EQ(b->links->open_links(), 1U);
  a->say(Member::a, Member::b, 1);
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(1));
  holder.reset();
  EXPECT_TRUE(until([&] { return b->links->open_links() == 2; }));
  EXPECT_TRUE(sink_.contains("cannot be used yet"));
  EXPECT_TRUE(sink_.contains("is there now"));
  a->say(Member::a, Member::b, 2);
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(1, 2));
  EXPECT_TRUE(b->links->status()[0].heard);
}

TEST_F(Links, AddressThatDoesNotExistHindersNobody) {
  auto options = of_a(1);
  // Reserved for documentation (RFC 5737): no machine has it.
  options.links.push_back({.local = {.address = "192.0.2.7", .port = 7788},
                           .remotes = {{.member = Member::b, .address = {.address = "192.0.2.8", .port = 7788}}}});
  const auto a = end(std::move(options));
  const auto b = end(of_b(1));
  EXPECT_EQ(a->links->open_links(), 1U);
  a->say(Member::a, Member::b, 1);
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(1));
}

TEST_F(Links, AnswersGoWhereTheQuestionCameFrom) {
  AgreementLinksOptions options{
      .self = Member::witness, .incarnation = 1, .links = {}, .keys = {}, .answers_only = true};
  for (unsigned link = 0; link < 2; ++link) options.links.push_back({.local = loopback(3, link), .remotes = {}});
  const auto witness = end(std::move(options));
  witness->say(Member::witness, Member::a, 1);  // to nobody yet
  AgreementLinksOptions asker = of_a(2);
  asker.links = make_links(Member::a, lists(1, 2), lists(2, 2), lists(3, 2));
  const auto a = end(std::move(asker));
  a->say(Member::a, Member::witness, 2);
  settle(*witness);
  EXPECT_THAT(witness->heard, ElementsAre(2));
  witness->say(Member::witness, Member::a, 3);
  witness->say(Member::witness, Member::b, 4);
  settle(*a);
  EXPECT_THAT(a->heard, ElementsAre(3));
  EXPECT_EQ(sum(*witness->links, &LinkStatus::sent), 2U);
}

TEST_F(Links, SpeakIPv6) {
  const Portal one{.address = "::1", .port = 0};
  udp::socket probe(context_);
  boost::system::error_code error;
  probe.open(udp::v6(), error);
  if (!error) probe.bind(udp::endpoint(asio::ip::make_address("::1"), 0), error);
  if (error) GTEST_SKIP() << "no IPv6 here: " << error.message();
  const AgreementLinksOptions options{.self = Member::witness,
                                      .incarnation = 1,
                                      .links = {{.local = one, .remotes = {}}},
                                      .keys = {},
                                      .answers_only = true};
  const auto witness = end(options);
  const Portal there = witness->links->listening(0);
  ASSERT_NE(there.port, 0);
  const auto a = end({.self = Member::a,
                      .incarnation = 1,
                      .links = {{.local = one, .remotes = {{.member = Member::witness, .address = there}}}},
                      .keys = {}});
  a->say(Member::a, Member::witness, 1);
  settle(*witness);
  witness->say(Member::witness, Member::a, 2);
  settle(*a);
  EXPECT_THAT(witness->heard, ElementsAre(1));
  EXPECT_THAT(a->heard, ElementsAre(2));
  EXPECT_EQ(a->links->status()[0].remote, fmt::format("[::1]:{}", there.port));
}

TEST_F(Links, FloodLeavesTheLoopToOthers) {
  const auto b = end(of_b(1));
  auto socket = stranger(loopback(9));
  const std::vector<std::byte> rubbish(300);
  unsigned turns = 0;
  std::function<void()> other = [&] {
    ++turns;
    asio::post(context_, other);
  };
  asio::post(context_, other);
  for (int round = 0; round < 200; ++round) {
    for (int i = 0; i < 200; ++i) put(socket, loopback(2), rubbish);
    context_.restart();
    context_.run_one();
    context_.run_one();
  }
  EXPECT_GT(turns, 100U);
  settle(*b);
  EXPECT_GT(b->links->refused_of_strangers(), 5000U);
  // One line for all of them, or a few on a slow machine.
  std::size_t lines = 0;
  for (const std::string& line : sink_.lines()) lines += line.find("frame refused") != std::string::npos ? 1 : 0;
  EXPECT_LT(lines, 20U);
  auto peer = stranger(loopback(1));
  put(peer, loopback(2), encode({.number = 1, .message = beat(Member::a, 1)}, &ours));
  settle(*b);
  EXPECT_THAT(b->heard, ElementsAre(1));
}

TEST_F(Links, SayWhatNoWaitingMends) {
  const auto open = [this](AgreementLinksOptions options) {
    AgreementLinks links(context_, clock_, std::move(options), [](const Message&) {}, log_);
    const auto opened = links.open();
    return opened ? std::string() : opened.error();
  };
  auto options = of_a(1);
  EXPECT_THAT(open(options), HasSubstr("no key"));
  options.keys = {ours};
  EXPECT_THAT(open(options), IsEmpty());
  options.links[0].remotes[0].address.address = "node-b.example";
  EXPECT_THAT(open(options), HasSubstr("node-b.example"));
  options.links[0].remotes[0].address.address = "::1";
  EXPECT_THAT(open(options), HasSubstr("different kinds"));
  options.links.assign(9, {.local = loopback(1), .remotes = {}});
  EXPECT_THAT(open(options), HasSubstr("9 links"));
}

TEST(MakeLinks, UsesEveryAddress) {
  const auto list = [](unsigned member, unsigned count) {
    std::vector<Portal> all;
    for (unsigned link = 0; link < count; ++link) all.push_back(loopback(member, link));
    return all;
  };
  const auto remotes = [](const LinkOptions& link) {
    std::vector<std::string> all;
    for (const LinkRemote& each : link.remotes)
      all.push_back(fmt::format("{} {}", name(each.member), each.address.address));
    return all;
  };
  const auto address = [](unsigned member, unsigned link) { return loopback(member, link).address; };
  const auto even = make_links(Member::b, list(1, 2), list(2, 2), list(3, 2));
  ASSERT_EQ(even.size(), 2U);
  EXPECT_EQ(even[1].local, loopback(2, 1));
  EXPECT_THAT(remotes(even[1]), ElementsAre("a " + address(1, 1), "witness " + address(3, 1)));
  // One address of the witness is asked by every link; one link asks all addresses of it.
  const auto few = make_links(Member::a, list(1, 2), list(2, 2), list(3, 1));
  EXPECT_THAT(remotes(few[0]), ElementsAre("b " + address(2, 0), "witness " + address(3, 0)));
  EXPECT_THAT(remotes(few[1]), ElementsAre("b " + address(2, 1), "witness " + address(3, 0)));
  const auto many = make_links(Member::a, list(1, 1), list(2, 1), list(3, 2));
  EXPECT_THAT(remotes(many[0]),
              ElementsAre("b " + address(2, 0), "witness " + address(3, 0), "witness " + address(3, 1)));
  EXPECT_THAT(remotes(make_links(Member::a, list(1, 1), list(2, 1), {})[0]), ElementsAre("b " + address(2, 0)));
}

}  // namespace
}  // namespace mpath::target::cluster
