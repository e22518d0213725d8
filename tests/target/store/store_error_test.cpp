// What stores do when the medium, the file system or the kernel refuse.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "target/store/fd_file.hpp"
#include "target/store/journal.hpp"
#include "target/store/medium.hpp"
#include "tests/target/store/store_fixture.hpp"

namespace mpath::target {
namespace {

using test::bytes_of;
using test::Request;
using test::StoreFixture;
using testing::HasSubstr;

constexpr std::uint64_t disk_bytes = 4 << 20;

TEST(StatusOf, NamesWhatHappenedToTheMedium) {
  EXPECT_EQ(status_of(0), BlockStatus::ok);
  EXPECT_EQ(status_of(EIO), BlockStatus::io_error);
  EXPECT_EQ(status_of(ENOSPC), BlockStatus::no_space);
  EXPECT_EQ(status_of(EDQUOT), BlockStatus::no_space);
  EXPECT_EQ(status_of(EFBIG), BlockStatus::no_space);
  EXPECT_EQ(status_of(EROFS), BlockStatus::read_only);
  EXPECT_EQ(status_of(EPERM), BlockStatus::read_only);
  EXPECT_EQ(status_of(ENXIO), BlockStatus::io_error);
}

// ---- opening -------------------------------------------------------------------------------------------------------

TEST(OpenStore, SaysWhatIsWrongAndWhere) {
  StoreFixture f;
  StoreOptions options = f.file(StoreEngine::threads);
  options.create = false;
  EXPECT_THAT(f.open(options), HasSubstr(f.path() + ": cannot be opened: No such file"));
  options.create = true;
  options.path = f.path("no/such/folder");
  EXPECT_THAT(f.open(options), HasSubstr("No such file"));
  options.path = f.directory.path().string();
  EXPECT_THAT(f.open(options), HasSubstr("is no regular file"));
  options.path = f.path();
  options.size_bytes = 0;
  EXPECT_THAT(f.open(options), HasSubstr("is empty: give it a size"));
  options.kind = StoreKind::block;
  EXPECT_THAT(f.open(options), HasSubstr("is no block device"));
  options.kind = StoreKind::ram;
  EXPECT_THAT(f.open(options), HasSubstr("needs a size"));
  options.block_bytes = 520;
  EXPECT_THAT(f.open(options), HasSubstr("512 or 4096"));
}

TEST(OpenStore, OneWriterOrManyReaders) {
  StoreFixture f;
  ASSERT_EQ(f.open(f.file(StoreEngine::threads)), "");
  StoreOptions second = f.file(StoreEngine::threads);
  EXPECT_THAT(Store::open(f.shard, second, Log(f.output)).error(), HasSubstr("in use"));
  second.read_only = true;
  EXPECT_THAT(Store::open(f.shard, second, Log(f.output)).error(), HasSubstr("in use"));
  EXPECT_EQ(f.close(), error_code());
  EXPECT_EQ(f.open(second), "");
  auto third = Store::open(f.shard, second, Log(f.output));
  EXPECT_TRUE(third.has_value());
}

TEST(OpenStore, AReadOnlyStoreTakesNoWrites) {
  StoreFixture f;
  ASSERT_EQ(f.open(f.file(StoreEngine::threads)), "");
  ASSERT_EQ(f.run(BlockOp::write, 0, 4096, std::byte{1}), BlockStatus::ok);
  ASSERT_EQ(f.close(), error_code());
  StoreOptions options = f.file(StoreEngine::automatic);
  options.read_only = true;
  ASSERT_EQ(f.open(options), "");
  EXPECT_TRUE(f.store->limits().read_only);
  EXPECT_EQ(f.read(0, 4096), bytes_of(4096, 1));
  EXPECT_EQ(f.run(BlockOp::write, 0, 4096), BlockStatus::read_only);
  EXPECT_EQ(f.run(BlockOp::trim, 0, 4096), BlockStatus::read_only);
  EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::ok);
  EXPECT_EQ(f.store->atomic_bytes_max(), 0u);
  ASSERT_EQ(f.close(), error_code());
  options.size_bytes = 2 * disk_bytes;
  EXPECT_THAT(f.open(options), HasSubstr("smaller than configured"));
}

TEST(OpenStore, GrowsAFileButNeverShrinksIt) {
  StoreFixture f;
  ASSERT_EQ(f.open(f.file(StoreEngine::threads, disk_bytes)), "");
  ASSERT_EQ(f.close(), error_code());
  ASSERT_EQ(f.open(f.file(StoreEngine::threads, 2 * disk_bytes)), "");
  EXPECT_EQ(f.store->limits().size_bytes, 2 * disk_bytes);
  ASSERT_EQ(f.close(), error_code());
  ASSERT_EQ(f.open(f.file(StoreEngine::threads, 4096)), "");
  EXPECT_EQ(f.store->limits().size_bytes, 2 * disk_bytes);
}

// The answer of io_uring_setup in a container with a strict seccomp profile.
TEST(OpenStore, FallsBackToThreadsWhereIoUringIsForbidden) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = 4, .filter = rules};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      ::_exit(77);
    }
    int wrong = 0;
    {
      StoreFixture f;
      if (f.open(f.file(StoreEngine::io_uring)).find("io_uring is refused") == std::string::npos) wrong |= 1;
      if (!f.open(f.file(StoreEngine::automatic)).empty() || f.store->engine() != StoreEngine::threads) wrong |= 2;
      if (f.run(BlockOp::write, 0, 4096, std::byte{1}) != BlockStatus::ok) wrong |= 4;
      if (f.read(0, 4096) != bytes_of(4096, 1)) wrong |= 8;
    }
    ::_exit(wrong);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "seccomp is not available";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// ---- the medium fails ----------------------------------------------------------------------------------------------

class StoreErrorTest : public testing::TestWithParam<StoreEngine> {
 protected:
  void open(const StoreOptions& options) {
    const std::string wrong = f.open(options);
    if (wrong.find("io_uring is refused") != std::string::npos) GTEST_SKIP() << wrong;
    ASSERT_EQ(wrong, "");
  }
  StoreFixture f;
};

TEST_P(StoreErrorTest, AFileThatShrankIsAnErrorAndNeverTrustedAgain) {
  open(f.file(GetParam(), disk_bytes));
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_EQ(f.run(BlockOp::write, 0, 1 << 20, std::byte{1}), BlockStatus::ok);
  ASSERT_EQ(::truncate(f.path().c_str(), 65536), 0);
  Request past(BlockOp::read, 65536 - 4096, 8192);
  EXPECT_EQ(f.run(past), BlockStatus::io_error);
  EXPECT_EQ(past.error_at, 65536u) << "the first byte that is not there";
  EXPECT_EQ(f.read(0, 65536), bytes_of(65536, 1)) << "what is left can be read";
  EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::io_error);
  EXPECT_TRUE(f.sink.contains("in doubt"));
  // Mending the file does not mend what was lost: only opening anew does.
  ASSERT_EQ(::truncate(f.path().c_str(), disk_bytes), 0);
  EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::io_error);
  EXPECT_EQ(f.run(BlockOp::write, 0, 4096, std::byte{2}, true), BlockStatus::io_error) << "FUA";
  Request atomic(BlockOp::write, 0, 4096, std::byte{2});
  EXPECT_EQ(f.run_atomic(atomic), BlockStatus::io_error);
  EXPECT_EQ(f.run(BlockOp::write, 0, 4096, std::byte{2}), BlockStatus::ok) << "nobody was promised anything";
  EXPECT_EQ(f.close(), std::errc::io_error);
  ASSERT_EQ(f.open(f.file(GetParam())), "");
  EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::ok);
}

// The soft limit of this process for the length of a scope.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_P(StoreErrorTest, AFileThatMayNotGrowIsNoSpaceAndNobodyDies) {
  open(f.file(GetParam(), disk_bytes));
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_EQ(::truncate(f.path().c_str(), 65536), 0);  // so that writing extends it
  const FileSizeLimit limit(1 << 20);
  EXPECT_EQ(f.run(BlockOp::write, 2 << 20, 4096, std::byte{1}), BlockStatus::no_space);
  EXPECT_EQ(f.run(BlockOp::write, 0, 4096, std::byte{1}), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::write, 2 << 20, 4096, std::byte{1}, true), BlockStatus::no_space);
  EXPECT_FALSE(f.sink.contains("in doubt")) << "nothing was lost that anybody was told is safe";
}

// A tiny file system, unmounted at the end.
class TinyFileSystem {
 public:
  explicit TinyFileSystem(const std::string& folder) : folder_(folder) {
    std::filesystem::create_directory(folder);
    mounted_ = ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~TinyFileSystem() {
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  TinyFileSystem(const TinyFileSystem&) = delete;
  TinyFileSystem& operator=(const TinyFileSystem&) = delete;
  [[nodiscard]] bool is_mounted() const { return mounted_; }

 private:
  std::string folder_;
  bool mounted_ = false;
};

TEST_P(StoreErrorTest, AFullFileSystemIsNoSpaceUntilSomethingIsGivenBack) {
  const TinyFileSystem tiny(f.path("tiny"));
  if (!tiny.is_mounted()) GTEST_SKIP() << "mounting a tmpfs needs root";
  StoreOptions options = f.file(GetParam(), disk_bytes);
  options.path = f.path("tiny/disk");
  options.atomic_bytes_max = 0;  // its journal would need the space
  open(options);
  if (IsSkipped() || HasFatalFailure()) return;
  Request large(BlockOp::write, 0, 2 << 20, std::byte{1});
  EXPECT_EQ(f.run(large), BlockStatus::no_space);
  EXPECT_GT(large.error_at, 0u) << "the first part had room";
  EXPECT_LE(large.error_at, 1u << 20);
  EXPECT_EQ(f.run(BlockOp::write, 3 << 20, 4096, std::byte{1}), BlockStatus::no_space);
  EXPECT_EQ(f.run(BlockOp::trim, 0, 1 << 20), BlockStatus::ok);
  EXPECT_EQ(f.run(BlockOp::write, 3 << 20, 4096, std::byte{1}), BlockStatus::ok);
  EXPECT_EQ(f.read(3 << 20, 4096), bytes_of(4096, 1));
  // tmpfs punches holes and cannot zero a range: allocated zeroes have to be written.
  Request zeroes(BlockOp::write_zeroes, 3 << 20, 4096);
  zeroes.may_unmap = false;
  zeroes.fast_only = true;
  EXPECT_EQ(f.run(zeroes), BlockStatus::not_supported);
  Request slow(BlockOp::write_zeroes, 3 << 20, 4096);
  slow.may_unmap = false;
  EXPECT_EQ(f.run(slow), BlockStatus::ok);
  EXPECT_EQ(f.read(3 << 20, 4096), bytes_of(4096, 0));
  EXPECT_FALSE(f.extents(3 << 20, 4096).front().hole);
  EXPECT_EQ(f.close(), error_code());
}

TEST_P(StoreErrorTest, AnUnfinishedAtomicWriteIsFinishedAtOpening) {
  open(f.file(GetParam(), disk_bytes));
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_EQ(f.run(BlockOp::write, 0, 65536, std::byte{1}), BlockStatus::ok);
  ASSERT_EQ(f.close(), error_code());
  {
    // As a crash between the journal and the medium leaves it: an entry that is whole, and a medium that has half.
    struct Lost final : DurableFile {
      error_code write(std::uint64_t, std::span<const iovec>) override {
        return std::make_error_code(std::errc::io_error);
      }
      error_code read(std::uint64_t, std::span<std::byte>) override { return {}; }
    } lost;
    const UniqueFd fd(::open((f.path() + ".journal").c_str(), O_RDWR));
    FdFile file(fd.get());
    std::vector<std::byte> data = bytes_of(8192, 2);
    const iovec part{data.data(), data.size()};
    EXPECT_EQ(Journal(256 << 10).write(file, lost, 2, 1, 4096, std::span(&part, 1)).stage, Journal::Stage::medium);
  }
  StoreOptions read_only = f.file(GetParam());
  read_only.read_only = true;
  EXPECT_THAT(f.open(read_only), HasSubstr("has writes that were not finished"));
  ASSERT_EQ(f.open(f.file(GetParam())), "");
  EXPECT_TRUE(f.sink.contains("unfinished atomic writes replayed count=1"));
  EXPECT_EQ(f.read(0, 4096), bytes_of(4096, 1));
  EXPECT_EQ(f.read(4096, 8192), bytes_of(8192, 2));
  EXPECT_EQ(f.read(12288, 4096), bytes_of(4096, 1));
}

// ---- block devices -------------------------------------------------------------------------------------------------

// A loop device over a file, detached at the end.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file) {
    std::ofstream(file).close();
    if (::truncate(file.c_str(), disk_bytes) != 0) return;
    FILE* found = ::popen(("losetup --find --show '" + file + "' 2>/dev/null").c_str(), "r");
    char line[64] = {};
    if (found == nullptr) return;
    if (std::fgets(line, sizeof line, found) != nullptr) path_ = std::string(line, std::strcspn(line, "\n"));
    ::pclose(found);
  }
  ~LoopDevice() {
    if (!path_.empty()) static_cast<void>(!std::system(("losetup -d " + path_).c_str()));
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST_P(StoreErrorTest, ABlockDeviceIsReadWrittenAndTrimmed) {
  const LoopDevice loop(f.path("backing"));
  if (loop.path().empty()) GTEST_SKIP() << "no loop device to be had";
  for (const bool direct : {false, true}) {
    StoreOptions options = f.file(GetParam(), 0);
    options.kind = StoreKind::block;
    options.path = loop.path();
    options.direct = direct;
    open(options);
    if (IsSkipped() || HasFatalFailure()) return;
    EXPECT_EQ(f.store->limits().size_bytes, disk_bytes);
    EXPECT_FALSE(f.store->limits().can_report_extents);
    EXPECT_EQ(f.store->atomic_bytes_max(), 0u) << "no journal was named";
    EXPECT_THAT(Store::open(f.shard, options, Log(f.output)).error(), HasSubstr("in use"));
    EXPECT_EQ(f.run(BlockOp::write, 0, 1 << 20, std::byte{1}), BlockStatus::ok);
    EXPECT_EQ(f.run(BlockOp::write, 4096, 4096, std::byte{2}, true), BlockStatus::ok);
    EXPECT_EQ(f.run(BlockOp::trim, 65536, 65536), BlockStatus::ok);
    EXPECT_EQ(f.run(BlockOp::write_zeroes, 131072, 4096), BlockStatus::ok);
    Request kept(BlockOp::write_zeroes, 139264, 4096);
    kept.may_unmap = false;
    EXPECT_EQ(f.run(kept), BlockStatus::ok);
    EXPECT_EQ(f.run(BlockOp::flush), BlockStatus::ok);
    EXPECT_EQ(f.read(0, 4096), bytes_of(4096, 1));
    EXPECT_EQ(f.read(4096, 4096), bytes_of(4096, 2));
    EXPECT_EQ(f.read(131072, 4096), bytes_of(4096, 0));
    EXPECT_EQ(f.read(135168, 4096), bytes_of(4096, 1));
    EXPECT_EQ(f.read(139264, 4096), bytes_of(4096, 0));
    EXPECT_EQ(f.close(), error_code());
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, StoreErrorTest, testing::Values(StoreEngine::io_uring, StoreEngine::threads),
                         [](const auto& row) { return row.param == StoreEngine::io_uring ? "uring" : "threads"; });

}  // namespace
}  // namespace mpath::target
