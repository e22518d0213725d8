#include "target/cluster/cluster_key.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/support/temporary_directory.hpp"

namespace mpath::target::cluster {
namespace {

using testing::HasSubstr;

const std::string good(64, 'a');
const std::string other = "a long sentence that nobody else knows of";

class KeyFiles : public testing::Test {
 protected:
  std::expected<ClusterKeys, std::string> read(const std::string& text, mode_t mode = 0600) const {
    const auto path = directory_ / "key";
    std::ofstream(path, std::ios::binary) << text;
    ::chmod(path.c_str(), mode);
    return read_cluster_keys(path.string());
  }
  test::TemporaryDirectory directory_;
};

TEST_F(KeyFiles, HoldOneKeyOrTwo) {
  for (const std::string& text : {good, good + "\n", good + " \r\n", "\n" + good + "\n\n"}) {
    const auto keys = read(text);
    ASSERT_TRUE(keys) << keys.error();
    EXPECT_EQ(keys->current, key_of(good));
    EXPECT_FALSE(keys->previous);
    EXPECT_EQ(keys->all(), std::vector{key_of(good)});
  }
  const auto both = read(other + "\n" + good + "\n");
  ASSERT_TRUE(both) << both.error();
  EXPECT_EQ(both->all(), (std::vector{key_of(other), key_of(good)}));
}

TEST_F(KeyFiles, SayWhatIsWrong) {
  EXPECT_THAT(read("").error(), HasSubstr("openssl rand"));
  EXPECT_THAT(read(std::string(31, 'k')).error(), HasSubstr("31 bytes"));
  EXPECT_THAT(read(good + "\nshort\n").error(), HasSubstr("5 bytes"));
  EXPECT_THAT(read(good + "\n" + good + "\n" + good + "\n").error(), HasSubstr("3 lines"));
  EXPECT_THAT(read(std::string(5000, 'k')).error(), HasSubstr("longer"));
  EXPECT_THAT(read(good, 0640).error(), HasSubstr("chmod 0600"));
  EXPECT_THAT(read_cluster_keys("/nowhere/key").error(), HasSubstr("/nowhere/key"));
}

TEST(ClusterKey, IsSha256) {
  // FIPS 180-2, "abc".
  const Key key = key_of("abc");
  EXPECT_EQ(key[0], std::byte{0xba});
  EXPECT_EQ(key[1], std::byte{0x78});
  EXPECT_EQ(key[31], std::byte{0xad});
}

TEST(ClusterKey, OfFramesIsTheClusters) {
  EXPECT_EQ(cluster_id("lab"), cluster_id("lab"));
  EXPECT_NE(cluster_id("lab"), cluster_id("lap"));
  EXPECT_NE(frame_key(key_of(good), cluster_id("lab")), frame_key(key_of(good), cluster_id("lap")));
  EXPECT_NE(frame_key(key_of(good), cluster_id("lab")), frame_key(key_of(other), cluster_id("lab")));
  EXPECT_NE(frame_key(key_of(good), cluster_id("lab")), key_of(good));
}

}  // namespace
}  // namespace mpath::target::cluster
