#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "initiator/initiator_name.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath {
namespace {

class InitiatorName : public testing::Test {
 protected:
  std::filesystem::path file() const { return directory_ / "etc/mpathd/initiatorname.iscsi"; }
  void write(const std::string& text) {
    std::filesystem::create_directories(file().parent_path());
    std::ofstream(file()) << text;
  }
  const test::TemporaryDirectory directory_;
};

TEST_F(InitiatorName, IsMadeOnceAndKept) {
  const auto first = load_initiator_name(file());
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_TRUE(valid_initiator_name(*first));
  EXPECT_EQ(load_initiator_name(file()), first);
}

TEST_F(InitiatorName, IsReadPastCommentsAndBlanks) {
  write("# InitiatorName=iqn.commented\n\n  InitiatorName = iqn.2020-01.com.example:host \nInitiatorAlias=x\n");
  EXPECT_EQ(load_initiator_name(file()), "iqn.2020-01.com.example:host");
}

TEST_F(InitiatorName, ThatIsNotOneIsRefusedAndLeftAlone) {
  write("InitiatorName=just a host\n");
  const auto name = load_initiator_name(file());
  ASSERT_FALSE(name);
  EXPECT_EQ(name.error(), std::errc::invalid_argument);
  std::ifstream stream(file());
  std::string line;
  std::getline(stream, line);
  EXPECT_EQ(line, "InitiatorName=just a host");
}

}  // namespace
}  // namespace mpath
