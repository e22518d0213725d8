// What a unit keeps on the target's own disk: whole or not at all, and never mistaken for something else.
#include "target/config/unit_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <future>

#include "base/atomic_file.hpp"
#include "base/shard.hpp"
#include "tests/support/temporary_directory.hpp"

namespace mpath::target {
namespace {

using testing::HasSubstr;

class UnitState : public testing::Test {
 protected:
  static LuState busy_state() {
    LuState state;
    state.reservations.persist = true;
    state.reservations.registrations.push_back({.initiator = {.name = "iqn.2026-01.org.example:node1"},
                                                .target = {.target = "iqn.2026-01.org.example:disk"},
                                                .key = 7});
    return state;
  }

  const mpath::test::TemporaryDirectory directory_;
};

TEST_F(UnitState, MakesAUuidOnceAndKeepsIt) {
  const auto made = load_unit_uuid(directory_ / "lu");
  ASSERT_TRUE(made);
  EXPECT_NE(*made, Uuid{});
  EXPECT_EQ(load_unit_uuid(directory_ / "lu"), *made);
  EXPECT_NE(load_unit_uuid(directory_ / "other"), *made);
}

TEST_F(UnitState, RefusesADamagedUuidWithTheWayOut) {
  std::ofstream(directory_ / "uuid") << "not one\n";
  const auto loaded = load_unit_uuid(directory_.path());
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error(), HasSubstr("remove the file to give the unit a new identity"));
}

TEST_F(UnitState, ANewUnitHasNoState) {
  EXPECT_EQ(load_unit_state(directory_ / "nothing", {}), LuState{});
}

TEST_F(UnitState, IsAsConfiguredBeforeThereIsOne) {
  EXPECT_TRUE(load_unit_state(directory_.path(), {})->modes.write_cache);
  const auto without_cache = load_unit_state(directory_.path(), {.write_cache = false});
  ASSERT_TRUE(without_cache);
  EXPECT_FALSE(without_cache->modes.write_cache);
  EXPECT_FALSE(without_cache->saved_modes.write_cache);
}

TEST_F(UnitState, AForbiddenWriteCacheStaysOffWhateverWasSaved) {
  std::ofstream(directory_ / "state") << encode_lu_state(LuState{});
  const auto loaded = load_unit_state(directory_.path(), {.write_cache = false});
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(loaded->modes.write_cache);
  EXPECT_FALSE(loaded->saved_modes.write_cache);
}

TEST_F(UnitState, ComesBackAsItWasCommitted) {
  Shard shard(0);
  boost::asio::thread_pool pool(1);
  MemorySink sink;
  const LogOutput output(sink);
  FileStateLog log(shard, pool, directory_ / "lu", Log(output));
  shard.start();
  std::promise<error_code> answered;
  shard.post([&] { log.commit(busy_state(), [&answered](error_code error) { answered.set_value(error); }); });
  EXPECT_FALSE(answered.get_future().get());
  shard.stop();
  pool.join();
  const auto loaded = load_unit_state(directory_ / "lu", {});
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->reservations.registrations, busy_state().reservations.registrations);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "lu/state.new"));
}

// The unit must hear of it: a reservation that is not on the disk must not be granted.
TEST_F(UnitState, SaysWhenItCannotBeWritten) {
  Shard shard(0);
  boost::asio::thread_pool pool(1);
  MemorySink sink;
  const LogOutput output(sink);
  std::ofstream(directory_ / "lu") << "a file where the directory should be";
  FileStateLog log(shard, pool, directory_ / "lu", Log(output));
  shard.start();
  std::promise<error_code> answered;
  shard.post([&] { log.commit(busy_state(), [&answered](error_code error) { answered.set_value(error); }); });
  EXPECT_TRUE(answered.get_future().get());
  shard.stop();
  pool.join();
  EXPECT_TRUE(sink.contains("the state cannot be written"));
}

TEST_F(UnitState, NoTruncationIsTakenForAnotherState) {
  const std::string whole = encode_lu_state(busy_state());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(directory_ / "state", std::ios::trunc) << whole.substr(0, size);
    const auto loaded = load_unit_state(directory_.path(), {});
    // The line end of the last line may be missing; anything more is noticed.
    if (loaded)
      EXPECT_EQ(loaded->reservations.registrations, busy_state().reservations.registrations) << size;
    else
      EXPECT_THAT(loaded.error(), HasSubstr("remove the file"));
  }
}

TEST_F(UnitState, AReplacedFileKeepsItsMode) {
  const auto file = directory_ / "file";
  EXPECT_FALSE(replace_file(file, "one"));
  struct stat status{};
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  std::filesystem::permissions(file, std::filesystem::perms(0640));
  EXPECT_FALSE(replace_file(file, "two"));
  ASSERT_EQ(::stat(file.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640U);
  EXPECT_EQ(read_file(file, 10), "two");
  EXPECT_EQ(read_file(file, 2).error(), std::errc::file_too_large);
  EXPECT_FALSE(remove_file(file));
  EXPECT_FALSE(remove_file(file)) << "nothing to remove is no failure";
}

}  // namespace
}  // namespace mpath::target
