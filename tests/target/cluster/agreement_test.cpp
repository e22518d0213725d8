#include "target/cluster/agreement.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "base/unique_fd.hpp"
#include "target/cluster/witness.hpp"
#include "target/config/parse.hpp"
#include "tests/target/cluster/world.hpp"

namespace mpath::target::cluster {
namespace {

namespace fs = std::filesystem;
using replication::PeerLoss;
using replication::VoteRecord;
using std::chrono::milliseconds;
using test::loopback;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

const MemberSet both{Member::a, Member::b};

View view(std::uint64_t number, Member primary, MemberSet in_sync) {
  return {.number = number, .primary = primary, .in_sync = in_sync};
}
VoteRecord knows(const View& decided) {
  return {.decided = decided, .promised = {}, .accepted = std::nullopt};
}

class Pair : public test::World {
 protected:
  ~Pair() override {
    for (const Member member : {Member::a, Member::b}) kill(member);
  }

  AgreementOptions options(Member self) {
    AgreementOptions made{
        .node = {.self = self, .witness = with_witness_, .on_peer_loss = on_peer_loss_},
        .cluster = "lab",
        .directory = folder(self),
        .links = make_links(self, addresses(0), addresses(1), with_witness_ && etcd_.empty() ? addresses(2) : none_),
        .keys = {.current = key_of("the key of the laboratory"), .previous = std::nullopt},
        .etcd = etcd_,
        .fence = fence_,
        .boot_id = boot_id_};
    return made;
  }
  [[nodiscard]] fs::path folder(Member member) const { return directory_ / name(member); }
  static std::vector<Portal> addresses(unsigned member) { return {loopback(member, 0), loopback(member, 1)}; }
  std::unique_ptr<Agreement>& at(Member member) { return nodes_[static_cast<std::size_t>(member)]; }
  replication::NodeFsm& fsm(Member member) { return at(member)->fsm(); }

  std::expected<void, std::string> start(Member member) {
    at(member) = std::make_unique<Agreement>(context_, clock_, pool_, options(member), log_);
    at(member)->on_change = [this] { never_two_serve(); };
    return get(at(member)->start());
  }
  std::expected<void, std::string> init(Member member, const VoteRecord& first, bool anew = false) {
    return get(at(member)->init(first, anew));
  }
  // Its process is gone; its files stay as they are.
  void kill(Member member) {
    if (at(member)) run(at(member)->stop(false));
    at(member).reset();
  }
  void start_witness() {
    WitnessOptions wanted{.cluster = "lab",
                          .keys = {.current = key_of("the key of the laboratory"), .previous = std::nullopt},
                          .listen = addresses(2),
                          .directory = folder(Member::witness),
                          .lease = witness_lease_};
    witness_ = std::make_unique<Witness>(context_, clock_, std::move(wanted), log_);
    const auto started = witness_->start();
    ASSERT_TRUE(started) << started.error();
  }

  bool serves(Member member) { return at(member) && at(member)->has_fsm() && fsm(member).may_serve(clock_.now()); }
  void never_two_serve() { EXPECT_FALSE(serves(Member::a) && serves(Member::b)); }
  bool is_at(Member member, const View& wanted) { return at(member)->has_fsm() && fsm(member).view() == wanted; }
  bool until_serves(Member member) {
    return until([&] { return serves(member); });
  }
  bool until_at(Member member, const View& wanted) {
    return until([&] { return is_at(member, wanted); });
  }
  // As the data path would say: nothing differs any more. Again as long as the primary does not know of this life.
  bool fill(Member primary) {
    const Member peer = peer_of(primary);
    return until([&] {
      if (fsm(primary).view().in_sync == both) return is_at(peer, fsm(primary).view());
      if (!fsm(primary).peer_is_filled()) {
        fsm(peer).filled();
        at(peer)->settle();
        fsm(primary).peer_filled(at(peer)->incarnation(), clock_.now());
        at(primary)->settle();
      }
      return false;
    });
  }
  [[nodiscard]] std::string life_of(Member member) const {
    std::ifstream in(folder(member) / "life");
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool hears(Member member, Member other) {
    return std::ranges::any_of(at(member)->links(),
                               [other](const LinkStatus& link) { return link.to == other && link.heard; });
  }

  // Both in sync, a serves.
  void make_whole() {
    if (with_witness_ && etcd_.empty()) start_witness();
    ASSERT_TRUE(start(Member::a));
    ASSERT_TRUE(start(Member::b));
    const View first = view(1, Member::a, {Member::a});
    ASSERT_TRUE(init(Member::a, knows(first)));
    ASSERT_TRUE(init(Member::b, {}));
    ASSERT_TRUE(until_at(Member::b, first));
    ASSERT_TRUE(until([&] { return hears(Member::a, Member::b); }));
    ASSERT_TRUE(fill(Member::a));
    whole_ = view(2, Member::a, both);
    ASSERT_TRUE(until_at(Member::a, whole_));
    ASSERT_TRUE(until_at(Member::b, whole_));
    ASSERT_TRUE(until_serves(Member::a));
    // Without a witness what is heard in the first moments after a start does not count.
    if (!with_witness_) {
      EXPECT_FALSE(until([] { return false; }, replication::NodeOptions().deadtime));
    }
  }

  bool with_witness_ = true;
  PeerLoss on_peer_loss_ = PeerLoss::freeze;
  FenceOptions fence_;
  std::optional<std::string> boot_id_;
  Duration witness_lease_ = replication::NodeOptions().lease;
  std::vector<Portal> none_, etcd_;
  std::array<std::unique_ptr<Agreement>, 2> nodes_;
  std::unique_ptr<Witness> witness_;
  View whole_;
};

// With the third vote in a real etcd.
class PairWithEtcd : public Pair {
 protected:
  void SetUp() override {
    if (!fs::exists("/usr/bin/etcd")) GTEST_SKIP() << "SKIPPED: etcd (etcd-server) is missing";
    etcd_ = {{.address = loopback(5).address, .port = 2379}};
    start_etcd();
  }
  ~PairWithEtcd() override { stop_etcd(); }

  void start_etcd() {
    const std::string url = "http://" + format_portal(etcd_.front());
    const std::string peer_url = "http://" + etcd_.front().address + ":2380";
    std::vector<std::string> words{"/usr/bin/etcd",
                                   "--data-dir",
                                   (directory_ / "etcd").string(),
                                   "--listen-client-urls",
                                   url,
                                   "--advertise-client-urls",
                                   url,
                                   "--listen-peer-urls",
                                   peer_url,
                                   "--initial-advertise-peer-urls",
                                   peer_url,
                                   "--initial-cluster",
                                   "default=" + peer_url,
                                   "--logger",
                                   "zap",
                                   "--log-outputs",
                                   "/dev/null"};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    ASSERT_EQ(::posix_spawn(&process_, words.front().c_str(), &files, nullptr, arguments.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
  }
  void stop_etcd() {
    if (process_ == 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }
  bool hears_etcd(Member member) { return hears(member, Member::witness); }

  pid_t process_ = 0;
};

TEST_F(PairWithEtcd, TakesOverWithItsVoteAndGoesOnWithoutIt) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(until([&] { return hears_etcd(Member::a) && hears_etcd(Member::b); }));
  kill(Member::a);
  ASSERT_TRUE(until_serves(Member::b));
  EXPECT_EQ(fsm(Member::b).view(), view(3, Member::b, {Member::b}));
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(until_at(Member::a, view(3, Member::b, {Member::b})));
  ASSERT_TRUE(fill(Member::b));
  ASSERT_TRUE(until_at(Member::a, view(4, Member::b, both)));

  // Both nodes are a majority without it; and who says nothing is not heard.
  stop_etcd();
  ASSERT_TRUE(until([&] { return !hears_etcd(Member::a) && !hears_etcd(Member::b); }));
  EXPECT_TRUE(until_serves(Member::b));
  EXPECT_THAT(at(Member::b)->alarms(), Contains(HasSubstr("etcd")));
  // A follower without it is no majority.
  kill(Member::b);
  ASSERT_TRUE(until([&] { return !hears(Member::a, Member::b); }));
  EXPECT_FALSE(until([&] { return serves(Member::a); }, 2 * replication::NodeOptions().deadtime));
  start_etcd();
  EXPECT_TRUE(until_serves(Member::a));
  EXPECT_EQ(fsm(Member::a).view(), view(5, Member::a, {Member::a}));
}

// etcd was replaced by an empty one: the votes begin again with what both nodes know, not with what one alone does.
TEST_F(PairWithEtcd, BeginsAnewWhenEtcdWasLost) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::b);
  kill(Member::a);
  stop_etcd();
  fs::remove_all(directory_ / "etcd");
  start_etcd();
  ASSERT_TRUE(start(Member::b));
  EXPECT_FALSE(until([&] { return serves(Member::b); }, 3 * replication::NodeOptions().deadtime));
  ASSERT_TRUE(start(Member::a));
  EXPECT_TRUE(until([&] { return serves(Member::a) || serves(Member::b); }));
  EXPECT_TRUE(until([&] { return hears_etcd(Member::a) && hears_etcd(Member::b); }));
}

TEST_F(Pair, TakesNoPartBeforeInit) {
  ASSERT_TRUE(start(Member::a));
  EXPECT_FALSE(at(Member::a)->found());
  EXPECT_FALSE(at(Member::a)->takes_part());
  EXPECT_FALSE(at(Member::a)->has_fsm());
  EXPECT_THAT(at(Member::a)->links(), IsEmpty());
  EXPECT_FALSE(fs::exists(folder(Member::a)));
}

TEST_F(Pair, OneThatWasInitialisedServesAlone) {
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(init(Member::a, knows(view(1, Member::a, {Member::a}))));
  EXPECT_TRUE(at(Member::a)->found());
  EXPECT_TRUE(until_serves(Member::a));
  const auto again = init(Member::a, {});
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error(), HasSubstr("takes part already"));
}

TEST_F(Pair, BecomesWholeAndTheOtherTakesOver) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_FALSE(serves(Member::b));
  EXPECT_TRUE(until([&] { return witness_->record().decided == whole_; }));
  const TimePoint killed = clock_.now();
  kill(Member::a);
  ASSERT_TRUE(until_serves(Member::b));
  RecordProperty("takeover_ms", static_cast<int>((clock_.now() - killed) / milliseconds(1)));
  EXPECT_EQ(fsm(Member::b).view(), view(3, Member::b, {Member::b}));

  // The old primary comes back, hears of it, is filled, and is in sync again.
  ASSERT_TRUE(start(Member::a));
  EXPECT_TRUE(at(Member::a)->takes_part());
  ASSERT_TRUE(until_at(Member::a, view(3, Member::b, {Member::b})));
  ASSERT_TRUE(fill(Member::b));
  ASSERT_TRUE(until_at(Member::a, view(4, Member::b, both)));
  EXPECT_TRUE(until_serves(Member::b));
  // And the planned way back.
  ASSERT_TRUE(fsm(Member::b).hand_over(clock_.now()));
  at(Member::b)->settle();
  EXPECT_FALSE(serves(Member::b));
  ASSERT_TRUE(until_serves(Member::a));
  EXPECT_EQ(fsm(Member::a).view(), view(5, Member::a, both));
}

TEST_F(Pair, NodeThatIsHeldBackWaitsForAWord) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  // Said on one, known by both, and still after a restart.
  ASSERT_TRUE(get(at(Member::a)->hold_back(both)));
  ASSERT_TRUE(until([&] { return fsm(Member::b).held_back().members == both; }));
  ASSERT_TRUE(until([&] { return fs::exists(folder(Member::b) / "held-back"); }));
  kill(Member::b);
  ASSERT_TRUE(until_at(Member::a, view(3, Member::a, {Member::a})));
  ASSERT_TRUE(start(Member::b));
  EXPECT_EQ(fsm(Member::b).held_back(), fsm(Member::a).held_back());
  ASSERT_TRUE(until_at(Member::b, view(3, Member::a, {Member::a})));
  ASSERT_TRUE(fill(Member::a));
  const View again = view(4, Member::a, both);
  ASSERT_TRUE(until_at(Member::b, again));

  kill(Member::a);
  ASSERT_TRUE(until([&] { return !hears(Member::b, Member::a); }));
  EXPECT_FALSE(until([] { return false; }, 2 * replication::NodeOptions().deadtime));
  EXPECT_EQ(fsm(Member::b).view(), again);
  EXPECT_THAT(fsm(Member::b).waits_for(clock_.now()), HasSubstr("an administrator"));
  const MemberSet nobody;
  ASSERT_TRUE(get(at(Member::b)->hold_back(nobody)));
  EXPECT_TRUE(until_serves(Member::b));
}

TEST_F(Pair, HeldBackFileOfAnotherHandIsNotGuessedAt) {
  ASSERT_TRUE(start(Member::a));
  fs::create_directories(folder(Member::a));
  std::ofstream(folder(Member::a) / "held-back") << "7 everybody\n";
  const auto made = init(Member::a, knows(view(1, Member::a, {Member::a})));
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error(), HasSubstr("held-back"));
}

TEST_F(Pair, TheOtherNodeMayBeAskedToHandOver) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_FALSE(fsm(Member::a).peer_asks_to_serve(clock_.now()));
  fsm(Member::b).ask_to_serve(clock_.now() + std::chrono::seconds(30), clock_.now());
  at(Member::b)->settle();
  ASSERT_TRUE(until([&] { return fsm(Member::a).peer_asks_to_serve(clock_.now()); }));
  ASSERT_TRUE(fsm(Member::a).hand_over(clock_.now()));
  at(Member::a)->settle();
  ASSERT_TRUE(until_serves(Member::b));
  // It was answered: the next view begins without it.
  ASSERT_TRUE(until([&] { return fsm(Member::a).view() == fsm(Member::b).view(); }));
  EXPECT_FALSE(fsm(Member::b).peer_asks_to_serve(clock_.now()));
}

TEST_F(Pair, GoesOnWithoutItsWitnessAndWithoutOneOfItsLinks) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  witness_.reset();
  const std::uint64_t before = at(Member::a)->links().front().received;
  ASSERT_TRUE(until([&] { return at(Member::a)->links().front().received > before + 5; }));
  EXPECT_TRUE(until_serves(Member::a));
  EXPECT_EQ(fsm(Member::a).view(), whole_);
}

TEST_F(Pair, RestartOfBothFindsTheRecord) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  const std::uint64_t life = at(Member::a)->incarnation();
  for (const Member member : {Member::a, Member::b}) kill(member);
  for (const Member member : {Member::a, Member::b}) ASSERT_TRUE(start(member));
  EXPECT_TRUE(at(Member::a)->found() && at(Member::a)->takes_part());
  EXPECT_GT(at(Member::a)->incarnation(), life);
  EXPECT_GE(fsm(Member::a).view().number, whole_.number);
  EXPECT_TRUE(until([&] { return serves(Member::a) || serves(Member::b); }));
}

// --- the medium

// A record in memory that can be sealed, under the name where the record is looked for.
class SealedRecord {
 public:
  explicit SealedRecord(const fs::path& folder) : fd_(::memfd_create("record", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    fs::create_directories(folder);
    fs::create_symlink(fmt::format("/proc/self/fd/{}", fd_.get()), folder / "record");
  }
  void seal() { ASSERT_EQ(::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_WRITE), 0); }

 private:
  UniqueFd fd_;
};

TEST_F(Pair, NothingLeavesThatRestsOnARecordThatCannotBeWritten) {
  SealedRecord sealed(folder(Member::b));
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  sealed.seal();
  kill(Member::a);
  ASSERT_TRUE(until([&] { return !at(Member::b)->takes_part(); }));
  EXPECT_FALSE(serves(Member::b));
  EXPECT_THAT(at(Member::b)->trouble(), HasSubstr("cannot be written"));
  EXPECT_THAT(at(Member::b)->alarms(), Contains(HasSubstr("cannot be written")));
  EXPECT_TRUE(sink_.contains("takes no part any more"));
  EXPECT_EQ(witness_->record().decided, whole_);
  // It is as one that is down: the other goes on without it.
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(until_serves(Member::a));
  EXPECT_TRUE(fsm(Member::a).view().in_sync.only(Member::a));
}

TEST_F(Pair, DamagedRecordIsAFailureUntilItIsForgotten) {
  fs::create_directories(folder(Member::a));
  std::ofstream(folder(Member::a) / "record") << "rubbish";
  const auto started = start(Member::a);
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error(), HasSubstr("damaged"));
  EXPECT_THAT(at(Member::a)->trouble(), HasSubstr("damaged"));
  EXPECT_TRUE(at(Member::a)->found());
  EXPECT_FALSE(at(Member::a)->takes_part());
  const VoteRecord first = knows(view(1, Member::a, {Member::a}));
  EXPECT_FALSE(init(Member::a, first));
  ASSERT_TRUE(init(Member::a, first, true));
  EXPECT_TRUE(until_serves(Member::a));
  EXPECT_THAT(at(Member::a)->trouble(), IsEmpty());
}

TEST_F(Pair, SecondProcessDoesNotVote) {
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(init(Member::a, knows(view(1, Member::a, {Member::a}))));
  const std::uint64_t life = at(Member::a)->incarnation();
  Agreement second(context_, clock_, pool_, options(Member::a), log_);
  const auto started = get(second.start());
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error(), HasSubstr("another process"));
  run(second.stop(false));
  // And it has begun no life of its own.
  kill(Member::a);
  EXPECT_THAT(life_of(Member::a), HasSubstr(fmt::format("incarnation {}\n", life)));
}

TEST_F(Pair, LostMemoryIsKnownUntilItWasFilled) {
  boot_id_ = "boot1";
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(until([&] { return life_of(Member::b).find("suspect no") != std::string::npos; }));
  kill(Member::b);
  boot_id_ = "boot2";
  ASSERT_TRUE(start(Member::b));
  EXPECT_TRUE(fsm(Member::b).suspect());
  EXPECT_THAT(at(Member::b)->alarms(), Contains(HasSubstr("without an orderly end")));
  // The primary takes it out and fills it: the mark goes, durably.
  ASSERT_TRUE(until([&] { return is_at(Member::a, view(3, Member::a, {Member::a})); }));
  ASSERT_TRUE(until_at(Member::b, view(3, Member::a, {Member::a})));
  EXPECT_TRUE(fsm(Member::b).suspect());
  ASSERT_TRUE(fill(Member::a));
  ASSERT_TRUE(until_at(Member::b, view(4, Member::a, both)));
  ASSERT_TRUE(until([&] { return life_of(Member::b).find("suspect no") != std::string::npos; }));
  EXPECT_THAT(at(Member::b)->alarms(), IsEmpty());
  kill(Member::b);
  ASSERT_TRUE(start(Member::b));
  EXPECT_FALSE(fsm(Member::b).suspect());
}

// Its disks were replaced, and the view still says that it holds everything.
TEST_F(Pair, NodeThatJoinsAgainIsFilledBeforeItCounts) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::b);
  fs::remove_all(folder(Member::b));
  ASSERT_TRUE(start(Member::b));
  EXPECT_FALSE(at(Member::b)->found());
  ASSERT_TRUE(init(Member::b, {}));
  EXPECT_TRUE(fsm(Member::b).suspect());
  ASSERT_TRUE(until_at(Member::a, view(3, Member::a, {Member::a})));
  EXPECT_TRUE(until_serves(Member::a));
  // Over a restart too.
  kill(Member::b);
  ASSERT_TRUE(start(Member::b));
  EXPECT_TRUE(fsm(Member::b).suspect());
  ASSERT_TRUE(until_at(Member::b, view(3, Member::a, {Member::a})));
  ASSERT_TRUE(fill(Member::a));
  EXPECT_TRUE(until_at(Member::b, view(4, Member::a, both)));
}

TEST_F(Pair, OrderlyEndLeavesNothingToSuspect) {
  boot_id_ = "boot1";
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(until([&] { return life_of(Member::b).find("suspect no") != std::string::npos; }));
  run(at(Member::b)->stop(true));
  at(Member::b).reset();
  boot_id_ = "boot2";
  ASSERT_TRUE(start(Member::b));
  EXPECT_FALSE(fsm(Member::b).suspect());
}

// --- the fence

class TwoNodes : public Pair {
 protected:
  TwoNodes() {
    with_witness_ = false;
    on_peer_loss_ = PeerLoss::fence;
  }
  // A handler that notes how it was called, and then does `end`.
  void handler(const std::string& end) {
    const fs::path script = directory_ / "fence";
    std::ofstream(script) << "#!/bin/sh\necho \"$1 $MPTARGET_CLUSTER $MPTARGET_SELF $MPTARGET_PEER "
                          << "$MPTARGET_PEER_ADDRESSES\" >> " << (directory_ / "called").string() << "\n"
                          << end << "\n";
    ::chmod(script.c_str(), 0700);
    fence_.command = {script.string(), "off"};
  }
  std::string called() const {
    std::ifstream in(directory_ / "called");
    return {std::istreambuf_iterator<char>(in), {}};
  }
};

TEST_F(TwoNodes, HandlerThatSaysYesStandsInForThePeer) {
  handler("exit 0");
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  ASSERT_TRUE(until_serves(Member::b));
  EXPECT_EQ(fsm(Member::b).view(), view(3, Member::b, {Member::b}));
  EXPECT_EQ(called(), fmt::format("off lab b a {} {}\n", loopback(0, 0).address, loopback(0, 1).address));
}

TEST_F(TwoNodes, HandlerThatFailsIsNotBelieved) {
  handler("exit 1");
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  ASSERT_TRUE(until([&] { return sink_.contains("fence command failed"); }));
  EXPECT_THAT(at(Member::b)->alarms(), Contains(HasSubstr("exit status 1")));
  EXPECT_EQ(fsm(Member::b).view(), whole_);
  EXPECT_FALSE(serves(Member::b));
}

TEST_F(TwoNodes, HandlerThatHangsIsKilledWithAllThatItStarted) {
  // The marker ends when the last process of the handler's group has closed the pipe.
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const UniqueFd reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  handler(fmt::format("exec 9> {}\nsleep 1000 &\nwait", pipe.string()));
  fence_.timeout = milliseconds(300);
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  ASSERT_TRUE(until([&] { return sink_.contains("fence command failed"); }));
  EXPECT_THAT(at(Member::b)->alarms(), Contains(HasSubstr("no answer within 300ms: killed")));
  EXPECT_EQ(fsm(Member::b).view(), whole_);
  char byte = 0;
  EXPECT_TRUE(until([&] { return ::read(reader.get(), &byte, 1) == 0; }));
}

TEST_F(TwoNodes, HandlerThatDoesNotExistIsNotBelieved) {
  fence_.command = {"/nowhere/fence"};
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  ASSERT_TRUE(until([&] { return sink_.contains("fence command failed"); }));
  EXPECT_FALSE(serves(Member::b));
}

// Or it would switch off the one that is back; and it may have switched it off before that was heard again.
TEST_F(TwoNodes, HandlerIsKilledWhenThePeerIsHeardAndAskedAnewForTheNextLoss) {
  const fs::path go = directory_ / "go";
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const UniqueFd reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  handler(fmt::format("exec 9> {}\nwhile ! [ -e {} ]; do sleep 0.02; done", pipe.string(), go.string()));
  fence_.timeout = std::chrono::hours(1);
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  ASSERT_TRUE(until([&] { return !called().empty(); }));
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(until([&] { return hears(Member::b, Member::a); }));
  char byte = 0;
  ASSERT_TRUE(until([&] { return ::read(reader.get(), &byte, 1) == 0; }));
  EXPECT_TRUE(until([&] { return sink_.contains("fence command was broken off"); }));
  // Whoever serves now, both have to be whole again before the next loss.
  ASSERT_TRUE(until([&] { return serves(Member::a) || serves(Member::b); }));
  const Member primary = serves(Member::a) ? Member::a : Member::b;
  ASSERT_TRUE(fill(primary));
  ASSERT_TRUE(until_serves(primary));
  const View before = fsm(Member::b).view();
  kill(Member::a);
  ASSERT_TRUE(until([&] { return !hears(Member::b, Member::a); }));
  std::ofstream(go) << "now";
  ASSERT_TRUE(until_serves(Member::b));
  EXPECT_EQ(fsm(Member::b).view().number, before.number + 1);
  const std::string calls = called();
  EXPECT_EQ(std::ranges::count(calls, '\n'), 2);
}

TEST_F(TwoNodes, HandlerEndsWithTheNode) {
  const fs::path pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const UniqueFd reader(::open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  handler(fmt::format("exec 9> {}\necho x >&9\nexec sleep 1000", pipe.string()));
  fence_.timeout = std::chrono::hours(1);
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  char byte = 0;
  ASSERT_TRUE(until([&] { return ::read(reader.get(), &byte, 1) == 1; }));
  kill(Member::b);
  EXPECT_TRUE(until([&] { return ::read(reader.get(), &byte, 1) == 0; }));
}

TEST_F(TwoNodes, FrozenOneWaits) {
  on_peer_loss_ = PeerLoss::freeze;
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  kill(Member::a);
  ASSERT_TRUE(until([&] { return !hears(Member::b, Member::a); }));
  EXPECT_FALSE(serves(Member::b));
  ASSERT_TRUE(start(Member::a));
  EXPECT_TRUE(until([&] { return serves(Member::a) || serves(Member::b); }));
}

// --- the witness

TEST_F(Pair, WitnessThatLostItsVotesWaitsForBoth) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(until([&] { return witness_->record().decided == whole_; }));
  witness_.reset();
  fs::remove_all(folder(Member::witness));
  kill(Member::a);
  start_witness();
  EXPECT_FALSE(witness_->votes());
  // It is asked, and says nothing.
  const auto asked = [this] {
    const auto links = witness_->links().status();
    return std::ranges::any_of(links, [](const LinkStatus& link) { return link.received > 10; });
  };
  ASSERT_TRUE(until(asked));
  EXPECT_FALSE(witness_->votes());
  EXPECT_EQ(fsm(Member::b).view(), whole_);
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(until([&] { return witness_->votes(); }));
  EXPECT_GE(witness_->record().decided.number, whole_.number);
  EXPECT_TRUE(until([&] { return serves(Member::a) || serves(Member::b); }));
  // From here on it remembers.
  witness_.reset();
  start_witness();
  EXPECT_TRUE(witness_->votes());
}

TEST_F(Pair, WitnessWithAShortLeaseIsNoticed) {
  witness_lease_ = milliseconds(50);
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(until([&] { return !at(Member::a)->alarms().empty(); }));
  EXPECT_THAT(at(Member::a)->alarms(), Contains(HasSubstr("50ms")));
}

TEST_F(Pair, WitnessThatCannotWriteSaysSo) {
  SealedRecord sealed(folder(Member::witness));
  start_witness();
  bool failed = false;
  witness_->on_failure = [&failed] { failed = true; };
  sealed.seal();
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(start(Member::b));
  const VoteRecord first = knows(view(1, Member::a, {Member::a}));
  ASSERT_TRUE(init(Member::a, first));
  ASSERT_TRUE(init(Member::b, {}));
  EXPECT_TRUE(until([&] { return failed; }));
  EXPECT_EQ(witness_->links().open_links(), 0U);
  EXPECT_TRUE(until_serves(Member::a));
}

TEST_F(Pair, KeyIsChangedWhileAllRuns) {
  make_whole();
  ASSERT_FALSE(HasFatalFailure());
  const Key before = key_of("the key of the laboratory");
  const Key after = key_of("the next key of the laboratory");
  using Steps = std::vector<ClusterKeys>;
  for (const ClusterKeys& keys : Steps{{before, after}, {after, before}, {after, std::nullopt}}) {
    for (const Member member : {Member::a, Member::b}) {
      at(member)->set_keys(keys);
      const auto received = [this, member] {
        std::uint64_t count = 0;
        for (const LinkStatus& link : at(member)->links()) count += link.received;
        return count;
      };
      const std::uint64_t enough = received() + 10;
      ASSERT_TRUE(until([&] { return received() >= enough; }));
    }
    witness_->set_keys(keys);
  }
  const auto none_refused = [](const LinkStatus& link) { return link.refused == 0; };
  EXPECT_TRUE(std::ranges::all_of(at(Member::a)->links(), none_refused));
  EXPECT_TRUE(std::ranges::all_of(at(Member::b)->links(), none_refused));
  EXPECT_EQ(fsm(Member::a).view(), whole_);
}

TEST_F(Pair, OtherClustersAreNotUnderstood) {
  start_witness();
  ASSERT_TRUE(start(Member::a));
  ASSERT_TRUE(init(Member::a, knows(view(1, Member::a, {Member::a}))));
  auto strange = options(Member::b);
  strange.cluster = "another";
  at(Member::b) = std::make_unique<Agreement>(context_, clock_, pool_, std::move(strange), log_);
  ASSERT_TRUE(init(Member::b, {}));
  const auto refused = [this] {
    const auto links = at(Member::a)->links();
    return std::ranges::any_of(links, [](const LinkStatus& link) { return link.to == Member::b && link.refused > 5; });
  };
  ASSERT_TRUE(until(refused));
  EXPECT_FALSE(hears(Member::a, Member::b));
  EXPECT_EQ(fsm(Member::b).view().number, 0U);
}

}  // namespace
}  // namespace mpath::target::cluster
