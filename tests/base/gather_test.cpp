#include "base/gather.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.hpp"

namespace mpath {
namespace {

class GatherTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    near.reset(ends[0]);
    far.reset(ends[1]);
  }
  static void add(Gather& gather, std::string_view text) { gather.add(std::as_bytes(std::span(text))); }
  std::string received() const {
    std::string text(65536, '\0');
    const ssize_t count = ::recv(far.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
  UniqueFd near, far;
};

TEST_F(GatherTest, SendsThePiecesInTheirOrder) {
  Gather gather(0);
  for (const std::string_view piece : {"one ", "", "two ", "three"}) add(gather, piece);
  EXPECT_EQ(gather.bytes(), 13U);
  EXPECT_EQ(gather.send(near.get()), 13U);
  EXPECT_EQ(received(), "one two three");
}

TEST_F(GatherTest, PassesOverWhatHasLeftWhereverThatEnds) {
  const std::string whole = "one two three";
  for (std::size_t gone = 0; gone <= whole.size(); ++gone) {
    Gather gather(gone);
    for (const std::string_view piece : {"one ", "two ", "three"}) add(gather, piece);
    EXPECT_EQ(gather.bytes(), whole.size() - gone);
    if (gather.bytes() == 0) continue;
    EXPECT_EQ(gather.send(near.get()), whole.size() - gone);
    EXPECT_EQ(received(), whole.substr(gone));
  }
}

TEST_F(GatherTest, LeavesWhatDoesNotFitForTheNextOne) {
  Gather gather(0);
  for (std::size_t count = 0; count < Gather::pieces_max + 10; ++count) {
    EXPECT_EQ(gather.full(), count >= Gather::pieces_max);
    add(gather, "x");
  }
  EXPECT_EQ(gather.send(near.get()), Gather::pieces_max);
  EXPECT_EQ(received(), std::string(Gather::pieces_max, 'x'));
}

TEST_F(GatherTest, TellsAFullSocketFromOneThatIsGone) {
  const std::string block(1 << 16, 'x');
  std::size_t sent = 0;
  do {
    Gather gather(0);
    add(gather, block);
    const auto taken = gather.send(near.get());
    ASSERT_TRUE(taken);
    sent = *taken;
  } while (sent > 0);
  far.reset();
  Gather gather(0);
  add(gather, block);
  EXPECT_EQ(gather.send(near.get()).error(), std::errc::broken_pipe);
}

}  // namespace
}  // namespace mpath
