// Killed writers, several writers, damaged files, other versions.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <random>
#include <thread>

#include "base/unique_fd.hpp"
#include "db/database_file.hpp"
#include "db/sqlite_store.hpp"
#include "support.hpp"

namespace mpath::db {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

const NodeKey disk{
    .target_name = "iqn.2026-01.example:disk", .address = "10.0.0.1", .port = 3260, .tpgt = 1, .iface = "default"};
// Settings that one update sets together, so that a half record would show.
const std::vector<std::string> together = {"node.session.auth.username", "node.session.auth.username_in",
                                           "node.session.auth.password", "node.session.auth.password_in",
                                           "node.conn[0].tcp.congestion_control"};

Settings all_set_to(const std::string& value) {
  Settings settings;
  for (const std::string& key : together) settings[key] = value;
  return settings;
}

bool is_whole(const NodeRecord& record) {
  for (const std::string& key : together) {
    if (record.settings.at(key) != record.settings.at(together[0])) return false;
  }
  return true;
}

class DamageTest : public StoreTest {};

TEST_F(DamageTest, KilledWriterLeavesWholeRecords) {
  ASSERT_FALSE(open().add_node(disk, all_set_to("start")));
  close();
  std::mt19937 random(20260121);
  for (int round = 0; round < 25; ++round) {
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const UniqueFd reading(ready[0]);
    UniqueFd writing(ready[1]);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = Store::open(file());
      if (!store) ::_exit(1);
      for (int i = 0;; ++i) {
        const std::string value = std::to_string(round) + "." + std::to_string(i);
        if ((*store)->update_node(disk, all_set_to(value))) ::_exit(2);
        NodeKey extra = disk;
        extra.tpgt = 2;
        if (i % 3 == 1 && (*store)->add_node(extra, all_set_to(value))) ::_exit(3);
        if (i % 3 == 2 && (*store)->remove_node(extra)) ::_exit(4);
        if (::write(writing.get(), "x", 1) != 1) ::_exit(5);
      }
    }
    writing.reset();
    // Let a random number of rounds happen, then strike at whatever it is doing.
    const auto beats = std::uniform_int_distribution<int>(1, 12)(random);
    char beat = 0;
    for (int i = 0; i < beats; ++i) ASSERT_EQ(::read(reading.get(), &beat, 1), 1);
    random.discard(random() % 200000);  // up to a millisecond or so
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer failed by itself: " << WEXITSTATUS(status);
    const auto nodes = open().nodes({});
    ASSERT_TRUE(nodes) << nodes.error().message();
    ASSERT_GE(nodes->size(), 1u);
    for (const NodeRecord& record : *nodes) EXPECT_TRUE(is_whole(record)) << "round " << round;
    NodeKey extra = disk;
    extra.tpgt = 2;
    if (nodes->size() == 2) {
      ASSERT_FALSE(store_->remove_node(extra));
    }
    close();
  }
}

TEST_F(DamageTest, TwoWritersDoNotLoseEachOthersRecords) {
  open();
  close();
  constexpr int each = 60;
  const auto write_many = [this](int writer) {
    auto store = Store::open(file());
    ASSERT_TRUE(store) << store.error().message();
    for (int i = 0; i < each; ++i) {
      NodeKey key = disk;
      key.tpgt = writer * 1000 + i;
      const error_code error = (*store)->add_node(key, {});
      ASSERT_FALSE(error) << error.message();
      ASSERT_TRUE((*store)->alias_for(std::to_string(i), "mpath"));
    }
  };
  std::thread one(write_many, 1);
  std::thread other(write_many, 2);
  one.join();
  other.join();
  EXPECT_EQ(open().nodes({})->size(), std::size_t{2 * each});
  EXPECT_EQ(store_->alias_for("one more", "mpath").value(), "mpathbi") << "60 names, each given once";
}

TEST_F(DamageTest, ManyProcessesMakeTheFileTogether) {
  std::vector<std::thread> openers;
  for (int i = 0; i < 8; ++i) {
    openers.emplace_back([this, i] {
      auto store = Store::open(file());
      ASSERT_TRUE(store) << store.error().message();
      NodeKey key = disk;
      key.tpgt = i;
      ASSERT_FALSE((*store)->add_node(key, {}));
    });
  }
  for (std::thread& opener : openers) opener.join();
  EXPECT_EQ(open().nodes({})->size(), 8u);
  std::size_t others = 0;
  for (const auto& entry : fs::directory_iterator(file().parent_path())) {
    if (!entry.path().filename().string().starts_with("mpathd.sqlite-") && entry.path() != file()) ++others;
  }
  EXPECT_EQ(others, 0u) << "nothing is left of making it";
}

TEST_F(DamageTest, WaitForAWriterIsBounded) {
  open();
  auto opened = Database::open(file(), Database::Access::read_write, false, milliseconds(0));
  ASSERT_TRUE(opened);
  Transaction held(*opened, Transaction::Kind::writing);
  ASSERT_FALSE(held.error());
  auto hasty = open_sqlite_store(file(), {}, {.busy_wait = milliseconds(20)});
  ASSERT_TRUE(hasty) << "opening an up-to-date file needs no write lock: " << hasty.error().message();
  EXPECT_EQ((*hasty)->add_node(disk, {}), StoreErrc::busy);
  EXPECT_TRUE((*hasty)->nodes({})) << "readers do not wait";
}

// Opens what must not open, and checks that it is as before.
void expect_refused(const fs::path& file, std::error_code expected) {
  const std::string before = read_file(file);
  const auto store = Store::open(file);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error(), expected) << store.error().message();
  EXPECT_EQ(read_file(file), before);
}

struct Damage {
  const char* name;
  void (*spoil)(std::string& bytes);
};
class DamagedFile : public StoreTest, public ::testing::WithParamInterface<Damage> {};

TEST_P(DamagedFile, IsRefusedAndLeftAsItIs) {
  open();
  Store::Merge merge{.ifaces = {"default"}};
  for (int i = 0; i < 300; ++i)
    merge.found.push_back({.target_name = "iqn.x:" + std::to_string(i), .address = "10.0.0.1"});
  ASSERT_TRUE(store_->merge_discovery({.address = "10.0.0.1"}, merge));
  close();
  std::string bytes = read_file(file());
  GetParam().spoil(bytes);
  write_file(file(), bytes);
  expect_refused(file(), StoreErrc::damaged);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DamagedFile,
    ::testing::Values(Damage{"Empty", [](std::string& bytes) { bytes.clear(); }},
                      Damage{"OneByte", [](std::string& bytes) { bytes.resize(1); }},
                      Damage{"HeaderOnly", [](std::string& bytes) { bytes.resize(100); }},
                      Damage{"OnePage", [](std::string& bytes) { bytes.resize(4096); }},
                      Damage{"Half", [](std::string& bytes) { bytes.resize(bytes.size() / 2); }},
                      Damage{"LastPageMissing", [](std::string& bytes) { bytes.resize(bytes.size() - 4096); }},
                      Damage{"Text", [](std::string& bytes) { bytes = "node.name = iqn.x:y\n"; }},
                      Damage{"Noise",
                             [](std::string& bytes) {
                               std::mt19937 random(1);
                               for (char& c : bytes) c = static_cast<char>(random());
                             }},
                      Damage{"NoiseBehindTheHeader",
                             [](std::string& bytes) {
                               std::mt19937 random(2);
                               for (std::size_t i = 100; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random());
                             }},
                      Damage{
                          "ZeroesInTheMiddle",
                          [](std::string& bytes) { std::fill(bytes.begin() + 4096, bytes.begin() + 8 * 4096, '\0'); }},
                      Damage{"AnotherProgramsDatabase", [](std::string& bytes) { bytes.replace(68, 4, "xxxx"); }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(DamageTest, RandomNoiseNeverCrashes) {
  ASSERT_FALSE(open().add_node(disk, all_set_to("value")));
  close();
  const std::string whole = read_file(file());
  std::mt19937 random(3);
  for (int round = 0; round < 150; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 12; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    for (const char* suffix : {"-wal", "-shm"}) fs::remove(file().string() + suffix);
    write_file(file(), bytes);
    auto store = Store::open(file());
    if (!store) continue;
    static_cast<void>((*store)->nodes({}));
    static_cast<void>((*store)->update_node(disk, all_set_to("other")));
    static_cast<void>((*store)->ifaces());
  }
}

TEST_F(DamageTest, DirectoryInItsPlaceIsRefused) {
  fs::create_directories(file());
  const auto store = Store::open(file());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error(), StoreErrc::damaged);
  EXPECT_TRUE(fs::is_directory(file()));
}

TEST_F(DamageTest, ParentThatIsAFileIsAnError) {
  write_file(directory_.path() / "state", "in the way");
  EXPECT_FALSE(Store::open(file()));
}

TEST_F(DamageTest, LogOfALostFileIsNotReplayed) {
  ASSERT_FALSE(open().add_node(disk, {}));
  fs::copy_file(file().string() + "-wal", directory_.path() / "wal");
  close();
  fs::remove(file());
  fs::copy_file(directory_.path() / "wal", file().string() + "-wal");
  EXPECT_EQ(open().nodes({})->size(), 0u);
}

TEST_F(DamageTest, LaterVersionIsRefused) {
  open();
  close();
  {
    auto opened = Database::open(file(), Database::Access::read_write, false, milliseconds(100));
    ASSERT_TRUE(opened);
    ASSERT_FALSE(opened->run("PRAGMA user_version = 99"));
  }
  expect_refused(file(), StoreErrc::newer_schema);
}

TEST_F(DamageTest, MissingStepsAreTakenAllOrNone) {
  constexpr const char* one = "CREATE TABLE a (x); INSERT INTO a VALUES (1);";
  constexpr const char* two = "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x + 1;";
  constexpr const char* wrong = "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1);";
  const std::array first_version = {one};
  const std::array broken_version = {one, wrong};
  const std::array second_version = {one, two};
  ASSERT_TRUE(open_database_file(file(), first_version, milliseconds(100)));
  EXPECT_FALSE(open_database_file(file(), broken_version, milliseconds(100)));
  auto stepped = open_database_file(file(), second_version, milliseconds(100));
  ASSERT_TRUE(stepped) << stepped.error().message();
  Query query(stepped->database, "SELECT x, y FROM a");
  ASSERT_TRUE(query.next());
  EXPECT_EQ(query.number(0), 1);
  EXPECT_EQ(query.number(1), 2);
  EXPECT_TRUE(Query(stepped->database, "SELECT * FROM b").error()) << "the broken step left nothing";
}

}  // namespace
}  // namespace mpath::db
