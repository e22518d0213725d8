// The scripted target is what other tests trust: its own login, data transfer, faults and reinstatement, spoken to by
// hand.
#include "tests/support/script_target.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::test {
namespace {

using namespace iscsi;
using Bytes = std::vector<std::byte>;

constexpr int patience_ms = 20000;

struct Answer {
  std::array<std::byte, bhs_bytes> bhs{};
  Head head;
  Bytes data;
};

// A blocking initiator of five words: log_in, command, data, answer, closed.
class Client {
 public:
  explicit Client(const Portal& portal) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(portal.port);
    ::inet_pton(AF_INET, portal.address.c_str(), &name.sin_addr);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
  }
  ~Client() { ::close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }

  template <typename Pdu>
  void send(Pdu pdu, std::span<const std::byte> data = {}) {
    pdu.data_length = static_cast<std::uint32_t>(data.size());
    Bytes bytes(bhs_bytes + padded(data.size()));
    const std::span<std::byte> all(bytes);
    encode(pdu, all.first<bhs_bytes>());
    std::ranges::copy(data, bytes.begin() + bhs_bytes);
    [[maybe_unused]] const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }

  // The next PDU; nothing when the target closes or says no more.
  std::optional<Answer> answer() {
    Answer got;
    if (!fill(got.bhs)) return std::nullopt;
    const auto head = decode_head(got.bhs);
    if (!head) return std::nullopt;
    got.head = *head;
    got.data.resize(padded(head->data_length));
    if (!fill(got.data)) return std::nullopt;
    got.data.resize(head->data_length);
    return got;
  }

  std::optional<LoginResponse> log_in(const ScriptTarget& target, std::uint8_t port_id, KeyValues keys = {}) {
    keys.insert(keys.end(), {{"InitiatorName", "iqn.2025-11.test:i"}, {"TargetName", target.target_name()}});
    send(LoginRequest{.transit = true,
                      .current = Stage::operational,
                      .next = Stage::full_feature,
                      .isid = {0x80, 0, 0, 0, 0, port_id},
                      .itt = 1,
                      .cmd_sn = 1},
         encode_text(keys));
    const auto got = answer();
    if (!got) return std::nullopt;
    login_keys = decode_text(got->data).value_or(KeyValues{});
    const auto response = decode_login_response(got->bhs);
    if (!response) return std::nullopt;
    return *response;
  }

  void command(const scsi::Cdb& cdb, std::uint32_t itt, bool read, std::uint32_t length,
               std::span<const std::byte> data = {}) {
    ScsiCommand pdu{
        .read = read, .write = !read && length > 0, .itt = itt, .expected_length = length, .cmd_sn = cmd_sn_++};
    pdu.cdb = cdb.bytes;
    send(pdu, data);
  }

  KeyValues login_keys;

 private:
  bool fill(std::span<std::byte> place) {
    while (!place.empty()) {
      pollfd polled{.fd = fd_, .events = POLLIN, .revents = 0};
      if (::poll(&polled, 1, patience_ms) <= 0) return false;
      const ssize_t count = ::recv(fd_, place.data(), place.size(), 0);
      if (count <= 0) return false;
      place = place.subspan(static_cast<std::size_t>(count));
    }
    return true;
  }

  int fd_;
  bool connected_ = false;
  std::uint32_t cmd_sn_ = 1;
};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  return bytes;
}

TEST(ScriptTarget, WritesByImmediateDataAndR2TAndReadsBack) {
  ScriptTarget target({.max_burst = 4096});
  Client client(target.portals()[0]);
  ASSERT_TRUE(client.log_in(target, 1, {{"MaxRecvDataSegmentLength", "2048"}, {"MaxBurstLength", "262144"}}));
  const Bytes data = pattern(16384);
  client.command(scsi::write_cdb(8, 32), 5, false, 16384, std::span(data).first(1024));
  for (std::size_t at = 1024; at < data.size();) {
    const auto got = client.answer();
    ASSERT_TRUE(got);
    const auto r2t = decode_ready_to_transfer(got->bhs);
    ASSERT_TRUE(r2t);
    EXPECT_EQ(r2t->buffer_offset, at);
    EXPECT_LE(r2t->desired_length, 4096U);
    client.send(DataOut{.final = true, .itt = 5, .ttt = r2t->ttt, .buffer_offset = r2t->buffer_offset},
                std::span(data).subspan(at, r2t->desired_length));
    at += r2t->desired_length;
  }
  const auto written = client.answer();
  ASSERT_TRUE(written);
  EXPECT_EQ(decode_scsi_response(written->bhs)->status, scsi::Status::good);
  EXPECT_EQ(target.disk_bytes(0, 8 * 512, data.size()), data);

  client.command(scsi::read_cdb(8, 32), 6, true, 16384);
  Bytes back;
  bool done = false;
  while (!done) {
    const auto got = client.answer();
    ASSERT_TRUE(got);
    const auto data_in = decode_data_in(got->bhs);
    ASSERT_TRUE(data_in);
    EXPECT_EQ(data_in->buffer_offset, back.size());
    EXPECT_LE(got->data.size(), 2048U);
    back.insert(back.end(), got->data.begin(), got->data.end());
    done = data_in->has_status;
  }
  EXPECT_EQ(back, data);
  EXPECT_EQ(target.record().protocol_errors, 0U);
  EXPECT_EQ(target.record().cmd_sn_gaps, 0U);
}

TEST(ScriptTarget, ReinstatementAbortsTheHeldWriteOfTheOldNexus) {
  ScriptTarget target;
  target.add_fault({.step = Step::command, .action = Action::hold, .opcode = scsi::Opcode::write_10});
  const Bytes data = pattern(512);
  Client old(target.portals()[0]);
  ASSERT_TRUE(old.log_in(target, 1));
  old.command(scsi::write_cdb(0, 1), 5, false, 512, data);
  ASSERT_TRUE(target.wait_for([](const Record& record) { return record.commands.size() == 1; }));

  Client other_port(target.portals()[0]);
  ASSERT_TRUE(other_port.log_in(target, 2));
  EXPECT_FALSE(target.record().logins.back().reinstated);

  Client again(target.portals()[0]);
  ASSERT_TRUE(again.log_in(target, 1));
  EXPECT_TRUE(target.record().logins.back().reinstated);
  EXPECT_EQ(target.record().logins.back().tasks_aborted, 1U);
  EXPECT_FALSE(old.answer());
  target.release_held();
  EXPECT_EQ(target.disk_bytes(0, 0, 512), Bytes(512));
  EXPECT_FALSE(target.record().commands[0].executed);
}

TEST(ScriptTarget, ReleasedWritesRunWhenTheirSessionIsStillThere) {
  ScriptTarget target;
  target.add_fault({.step = Step::command, .action = Action::hold});
  const Bytes data = pattern(512);
  Client client(target.portals()[0]);
  ASSERT_TRUE(client.log_in(target, 1));
  client.command(scsi::write_cdb(0, 1), 5, false, 512, data);
  ASSERT_TRUE(target.wait_for([](const Record& record) { return record.commands.size() == 1; }));
  target.release_held();
  ASSERT_TRUE(client.answer());
  EXPECT_EQ(target.disk_bytes(0, 0, 512), data);
}

TEST(ScriptTarget, ShortReadsSayTheirResidualOrDoNot) {
  ScriptTarget target;
  Client client(target.portals()[0]);
  ASSERT_TRUE(client.log_in(target, 1));
  for (const auto& [action, residual] :
       {std::pair{Action::short_residual, 512U}, std::pair{Action::short_silent, 0U}}) {
    target.add_fault({.step = Step::command, .action = action});
    client.command(scsi::read_cdb(0, 2), 7, true, 1024);
    const auto got = client.answer();
    ASSERT_TRUE(got);
    EXPECT_EQ(got->data.size(), 512U);
    EXPECT_EQ(decode_data_in(got->bhs)->residual, residual);
    target.clear_faults();
  }
}

TEST(ScriptTarget, FaultsOfLoginStrikeWhereTheyAreTold) {
  for (const Fault& fault : login_sweep()) {
    if (fault.step != Step::login_request || fault.nth != 1 || fault.action == Action::silence) continue;
    ScriptTarget target;
    target.add_fault(fault);
    Client client(target.portals()[0]);
    const auto response = client.log_in(target, 1);
    EXPECT_TRUE(!response || response->status != LoginStatus::success) << name(fault);
    EXPECT_EQ(target.record().faults_fired, 1U) << name(fault);
    Client next(target.portals()[0]);
    EXPECT_TRUE(next.log_in(target, 1)) << name(fault);
  }
}

TEST(ScriptTarget, ZeroSegmentIsDeclared) {
  ScriptTarget target;
  target.add_fault(parse_fault("login_response:1:zero_segment"));
  Client client(target.portals()[0]);
  ASSERT_TRUE(client.log_in(target, 1));
  EXPECT_EQ(*find(client.login_keys, "MaxRecvDataSegmentLength"), "0");
}

TEST(ScriptTarget, RefusesConnectionsWhileItDoesNotListen) {
  ScriptTarget target;
  target.set_listening(0, false);
  EXPECT_FALSE(Client(target.portals()[0]).connected());
  target.set_listening(0, true);
  EXPECT_TRUE(Client(target.portals()[0]).connected());
}

TEST(ScriptTarget, UnitAttentionIsToldOnceAndNotToInquiry) {
  ScriptTarget target;
  Client client(target.portals()[0]);
  ASSERT_TRUE(client.log_in(target, 1));
  target.raise_unit_attention(scsi::sense::capacity_changed);
  client.command(scsi::inquiry_cdb(), 1, true, 255);
  EXPECT_EQ(client.answer()->head.opcode, Opcode::data_in);
  client.command(scsi::test_unit_ready_cdb(), 2, false, 0);
  const auto told = client.answer();
  ASSERT_TRUE(told);
  EXPECT_EQ(scsi::decode_sense(response_sense(told->data))->sense, scsi::sense::capacity_changed);
  client.command(scsi::test_unit_ready_cdb(), 3, false, 0);
  EXPECT_EQ(decode_scsi_response(client.answer()->bhs)->status, scsi::Status::good);
}

TEST(ScriptTarget, LunResetAbortsWhatIsHeldOnEverySession) {
  ScriptTarget target;
  target.add_fault({.step = Step::command, .action = Action::hold, .opcode = scsi::Opcode::write_10});
  Client writer(target.portals()[0]);
  ASSERT_TRUE(writer.log_in(target, 1));
  writer.command(scsi::write_cdb(0, 1), 5, false, 512, pattern(512));
  ASSERT_TRUE(target.wait_for([](const Record& record) { return record.commands.size() == 1; }));
  Client resetter(target.portals()[0]);
  ASSERT_TRUE(resetter.log_in(target, 2));
  resetter.send(TaskRequest{.function = TaskFunction::logical_unit_reset, .itt = 9, .cmd_sn = 1});
  const auto got = resetter.answer();
  ASSERT_TRUE(got);
  EXPECT_EQ(decode_task_response(got->bhs)->result, TaskResult::complete);
  EXPECT_EQ(target.record().tasks_aborted, 1U);
}

TEST(ScriptTarget, FaultNamesAreReadAndWritten) {
  for (const Fault& fault : login_sweep()) {
    const Fault read = parse_fault(name(fault));
    EXPECT_EQ(name(read), name(fault));
  }
  for (const char* text :
       {"", "a", "login_request:1", "login_request:x:close", "nowhere:1:close", "login_request:1:nothing"}) {
    EXPECT_THROW(static_cast<void>(parse_fault(text)), std::invalid_argument) << text;
  }
}

}  // namespace
}  // namespace mpath::test
