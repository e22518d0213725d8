// Digests, ErrorRecoveryLevel 1, and sessions of several connections.
#include <netinet/in.h>
#include <poll.h>

#include <array>

#include "tests/target/iscsi/session_fixture.hpp"

namespace mpath::target::test {
namespace {

constexpr scsi::Sense crc_error{scsi::SenseKey::aborted_command, 0x47, 0x05};

class Recovery : public SessionTest {
 protected:
  Recovery() {
    parameters.header_digest = true;
    parameters.data_digest = true;
    parameters.error_recovery_level = 1;
  }
};

TEST_F(Recovery, DigestsAreMadeAndChecked) {
  parameters.error_recovery_level = 0;
  parameters.send_segment_max = 1000;  // padding in every PDU
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(100 * block, 8);
  const auto command = initiator.command(scsi::write_cdb(0, 100), {.out = 100 * block, .immediate_data = 8192});
  EXPECT_EQ(initiator.write_of(command, data, 3001).status, scsi::Status::good);
  EXPECT_EQ(initiator.read_of(initiator.command(scsi::read_cdb(0, 100), {.in = 100 * block})).data, data);
}

TEST_F(Recovery, WithoutRecoveryDamagedDataFailsTheWriteAndADamagedCommandTheConnection) {
  parameters.error_recovery_level = 0;
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(1024);
  initiator.send(initiator.command(scsi::write_cdb(0, 2), {.out = 1024}));
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  initiator.damage_data_digest = true;
  initiator.send(initiator.data_out(r2t, 0, 512, 0, false), std::span(data).first(512));
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::data_digest);
  initiator.send(initiator.data_out(r2t, 512, 512, 1, true), std::span(data).subspan(512));
  EXPECT_EQ(sense_in(initiator.expect<iscsi::ScsiResponse>().data), crc_error);
  EXPECT_EQ(peek(0, 1024), Bytes(1024));

  initiator.damage_data_digest = true;
  initiator.send(initiator.command(scsi::write_cdb(0, 2), {.out = 1024, .immediate_data = 1024}), data);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::data_digest);
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Recovery, ADamagedHeaderEndsTheConnection) {
  serve();
  auto initiator = log_in_quietly();
  initiator.damage_header_digest = true;
  initiator.send(initiator.nop());
  EXPECT_TRUE(initiator.closed());
}

TEST_F(Recovery, DamagedDataIsAskedForAgain) {
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(2048, 3);
  initiator.send(initiator.command(scsi::write_cdb(0, 4), {.out = 2048}));
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  initiator.send(initiator.data_out(r2t, 0, 512, 0, false), std::span(data).first(512));
  initiator.damage_data_digest = true;
  initiator.send(initiator.data_out(r2t, 512, 512, 1, false), std::span(data).subspan(512, 512));
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::data_digest);
  initiator.send(initiator.data_out(r2t, 1024, 1024, 2, true), std::span(data).subspan(1024));
  const auto again = initiator.expect<iscsi::ReadyToTransfer>();
  EXPECT_EQ(again.r2t_sn, r2t.r2t_sn + 1);
  EXPECT_EQ(again.buffer_offset, 512U);
  EXPECT_EQ(again.desired_length, 1536U);
  initiator.send(initiator.data_out(again, 512, 1536, 0, true), std::span(data).subspan(512));
  EXPECT_EQ(initiator.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
  EXPECT_EQ(peek(0, 2048), data);
}

TEST_F(Recovery, DataThatWasLostIsAskedForAgain) {
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(1024, 3);
  initiator.send(initiator.command(scsi::write_cdb(0, 2), {.out = 1024}));
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  initiator.send(initiator.data_out(r2t, 512, 512, 1, true), std::span(data).subspan(512));
  const auto again = initiator.expect<iscsi::ReadyToTransfer>();
  EXPECT_EQ(again.buffer_offset, 0U);
  EXPECT_EQ(again.desired_length, 1024U);
  initiator.send(initiator.data_out(again, 0, 1024, 0, true), data);
  EXPECT_EQ(initiator.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
  EXPECT_EQ(peek(0, 1024), data);
}

TEST_F(Recovery, ADamagedCommandIsTakenWhenItComesAgain) {
  serve();
  auto initiator = log_in_quietly();
  const Bytes data = pattern(512, 3);
  const auto command = initiator.command(scsi::write_cdb(0, 1), {.out = 512, .immediate_data = 512});
  initiator.damage_data_digest = true;
  initiator.send(command, data);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::data_digest);
  EXPECT_EQ(initiator.status_of(command, data).status, scsi::Status::good);
  EXPECT_EQ(peek(0, 512), data);
}

TEST_F(Recovery, DataInAndStatusAreSentAgain) {
  parameters.send_segment_max = 512;
  serve();
  poke(0, pattern(2048, 6));
  auto initiator = log_in_quietly();
  const auto command = initiator.command(scsi::read_cdb(0, 4), {.in = 2048});
  const auto read = initiator.read_of(command);
  ASSERT_EQ(read.pdus, 4U);
  const std::uint32_t stat_sn = initiator.exp_stat_sn - 1;
  const auto snack = [&](iscsi::SnackType type, std::uint32_t begin, std::uint32_t run) {
    initiator.send(iscsi::SnackRequest{.type = type,
                                       .lun = command.lun,
                                       .itt = type == iscsi::SnackType::status ? iscsi::reserved_tag : command.itt,
                                       .exp_stat_sn = stat_sn,
                                       .begin_run = begin,
                                       .run_length = run});
  };
  snack(iscsi::SnackType::data_or_r2t, 1, 2);
  for (const std::uint32_t sn : {1U, 2U}) {
    const auto data = initiator.expect<iscsi::DataIn>();
    EXPECT_EQ(data.data_sn, sn);
    EXPECT_EQ(data.buffer_offset, sn * 512);
    EXPECT_EQ(data.data, Bytes(read.data.begin() + sn * 512, read.data.begin() + (sn + 1) * 512));
  }
  snack(iscsi::SnackType::status, stat_sn, 1);
  const auto response = initiator.expect<iscsi::ScsiResponse>();
  EXPECT_EQ(response.itt, command.itt);
  EXPECT_EQ(response.stat_sn, stat_sn);
  EXPECT_EQ(response.exp_data_sn, 4U);
  snack(iscsi::SnackType::data_ack, 0, 1);
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::invalid_data_ack);
  // Once it is acknowledged it is forgotten.
  EXPECT_TRUE(initiator.silent());
  EXPECT_TRUE(initiator.silent());
  initiator.send(iscsi::SnackRequest{.itt = command.itt, .exp_stat_sn = initiator.exp_stat_sn, .begin_run = 0});
  EXPECT_EQ(initiator.expect<iscsi::Reject>().reason, iscsi::RejectReason::snack);
}

TEST_F(Recovery, AnR2tIsSentAgain) {
  parameters.max_burst = 512;
  parameters.max_outstanding_r2t = 2;
  serve();
  auto initiator = log_in_quietly();
  const auto command = initiator.command(scsi::write_cdb(0, 2), {.out = 1024});
  initiator.send(command);
  const auto first = initiator.expect<iscsi::ReadyToTransfer>();
  const auto second = initiator.expect<iscsi::ReadyToTransfer>();
  initiator.send(iscsi::SnackRequest{
      .lun = command.lun, .itt = command.itt, .exp_stat_sn = initiator.exp_stat_sn, .begin_run = 1, .run_length = 1});
  const auto again = initiator.expect<iscsi::ReadyToTransfer>();
  EXPECT_EQ(again.ttt, second.ttt);
  EXPECT_EQ(again.r2t_sn, 1U);
  const Bytes data = pattern(1024);
  initiator.send(initiator.data_out(first, 0, 512, 0, true), std::span(data).first(512));
  initiator.send(initiator.data_out(again, 512, 512, 0, true), std::span(data).subspan(512));
  EXPECT_EQ(initiator.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
  EXPECT_EQ(peek(0, 1024), data);
}

// The whole number space is a run like another: it costs no more than what is outstanding.
TEST_F(Recovery, AnEndlessRunOfR2tsIsWhatIsOutstanding) {
  serve();
  auto initiator = log_in_quietly();
  const auto command = initiator.command(scsi::write_cdb(0, 1), {.out = 512});
  initiator.send(command);
  const auto r2t = initiator.expect<iscsi::ReadyToTransfer>();
  initiator.send(iscsi::SnackRequest{.lun = command.lun,
                                     .itt = command.itt,
                                     .exp_stat_sn = initiator.exp_stat_sn,
                                     .begin_run = r2t.r2t_sn - 0x7ffffffe});
  EXPECT_EQ(initiator.expect<iscsi::ReadyToTransfer>().ttt, r2t.ttt);
  EXPECT_TRUE(initiator.silent());
  initiator.send(initiator.data_out(r2t, 0, 512, 0, true), pattern(512));
  EXPECT_EQ(initiator.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
}

// ---- several connections -------------------------------------------------------------------------------------------

class Connections : public SessionTest {
 protected:
  Connections() { parameters.max_connections = 2; }
  // The numbers of commands go over all connections.
  static void follow(ScriptInitiator& to, const ScriptInitiator& from) {
    to.cmd_sn = from.cmd_sn;
    to.next_itt = from.next_itt + 1000;
  }
};

TEST_F(Connections, ShareOneOrderOfCommands) {
  serve();
  auto first = log_in_quietly();
  auto second = log_in({.tsih = first.tsih, .cid = 1});
  EXPECT_EQ(try_log_in({.tsih = first.tsih, .cid = 2}).error(), iscsi::LoginStatus::too_many_connections);
  const auto before = first.command(scsi::read_cdb(0, 1), {.in = block});
  follow(second, first);
  const auto after = second.command(scsi::read_cdb(1, 1), {.in = block});
  second.send(after);
  EXPECT_TRUE(second.silent());
  first.send(before);
  EXPECT_EQ(first.expect<iscsi::DataIn>().itt, before.itt);
  EXPECT_EQ(second.expect<iscsi::DataIn>().itt, after.itt);
  EXPECT_EQ(status().connections.size(), 2U);
}

TEST_F(Connections, LearnTheNumbersOfTheirSessionWithTheLogin) {
  serve();
  auto first = log_in_quietly();
  Who who{.tsih = first.tsih, .cid = 1};
  const auto seat = run(sessions->admit(admission(who)));
  ASSERT_TRUE(seat && (*seat)->numbers);
  EXPECT_EQ((*seat)->numbers->expected, first.cmd_sn);
  EXPECT_EQ((*seat)->numbers->max, first.max_cmd_sn);
}

TEST_F(Connections, DataMustComeOnTheConnectionOfItsCommand) {
  serve();
  auto first = log_in_quietly();
  auto second = log_in({.tsih = first.tsih, .cid = 1});
  first.send(first.command(scsi::write_cdb(0, 1), {.out = block}));
  const auto r2t = first.expect<iscsi::ReadyToTransfer>();
  second.send(second.data_out(r2t, 0, block, 0, true), pattern(block));
  EXPECT_EQ(second.expect<iscsi::Reject>().reason, iscsi::RejectReason::protocol_error);
  first.send(first.data_out(r2t, 0, block, 0, true), pattern(block));
  EXPECT_EQ(first.expect<iscsi::ScsiResponse>().status, scsi::Status::good);
}

TEST_F(Connections, OneIsLostWithItsTasksAndTheOtherGoesOn) {
  serve();
  auto first = log_in_quietly();
  auto second = log_in({.tsih = first.tsih, .cid = 1});
  follow(second, first);
  second.send(second.command(scsi::write_cdb(0, 1), {.out = block}));
  static_cast<void>(second.expect<iscsi::ReadyToTransfer>());
  second.close();
  while (status().connections.size() > 1) {
  }
  first.cmd_sn = second.cmd_sn;
  EXPECT_EQ(first.read_of(first.command(scsi::read_cdb(0, 1), {.in = block})).status, scsi::Status::good);
  auto third = log_in({.tsih = first.tsih, .cid = 1});
  EXPECT_TRUE(third.silent());
}

TEST_F(Connections, TheSameCidReplacesItsConnection) {
  serve();
  auto first = log_in_quietly();
  auto second = log_in({.tsih = first.tsih, .cid = 1});
  disk().device.hold = true;
  follow(second, first);
  second.send(second.command(scsi::read_cdb(0, 1), {.in = block}));
  disk().device.wait_for(1);
  // The old task has to end before the new connection is there.
  std::thread helper([&] {
    while (status().connections.size() > 1) {
    }
    await_on(shard(0), [&] { disk().device.let_go(); });
  });
  auto third = log_in({.tsih = first.tsih, .cid = 1});
  helper.join();
  EXPECT_TRUE(second.closed());
  EXPECT_TRUE(third.silent());
  EXPECT_TRUE(first.silent());
}

// --- an address leaves this machine

// A TCP connection, the target's end first.
std::array<UniqueFd, 2> tcp_pair() {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in in{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  auto* const name = reinterpret_cast<sockaddr*>(&in);
  socklen_t size = sizeof in;
  UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::bind(listener.get(), name, size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), name, &size), 0);
  EXPECT_EQ(::connect(client.get(), name, size), 0);
  return {UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)), std::move(client)};
}

TEST_F(Connections, AllThatCameToAnAddressAreResetAtOnce) {
  serve();
  const std::string moving = "[::ffff:10.0.0.10]:3260";  // the same address, written in another way
  auto [ours, theirs] = tcp_pair();
  const UniqueFd raw(::dup(theirs.get()));
  auto gone = try_log_in({.port = 2, .local = moving}, std::move(ours), std::move(theirs));
  ASSERT_TRUE(gone);
  quiet(*gone);
  // A session with an end on another address keeps that one, and one that never came there is not disturbed.
  auto both = log_in_quietly({.port = 3});
  auto lost = log_in({.port = 3, .tsih = both.tsih, .cid = 1, .local = "10.0.0.10:3260"});
  auto other = log_in_quietly({.port = 4});
  // With a command under way, whose answer has nowhere to go.
  disk().device.hold = true;
  gone->send(gone->command(scsi::write_cdb(0, 1), {.out = block, .immediate_data = block}), pattern(block));
  disk().device.wait_for(1);

  const auto address = parse_ip_address("10.0.0.10");
  ASSERT_TRUE(address);
  EXPECT_EQ(run(sessions->drop_local(*address)), 2U);
  char byte = 0;
  EXPECT_EQ(::recv(raw.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNRESET) << "reset when drop_local() returns, not some time later";
  EXPECT_TRUE(lost.closed());
  await_on(shard(0), [&] { disk().device.let_go(); });
  EXPECT_TRUE(both.silent());
  EXPECT_TRUE(other.silent());
  while (session_count() > 2) {
  }
  EXPECT_EQ(run(sessions->drop_local(*address)), 0U);
  EXPECT_EQ(run(sessions->drop_all("a test")), 2U);
  EXPECT_TRUE(both.closed());
  EXPECT_TRUE(other.closed());
  while (session_count() > 0) {
  }
}

TEST_F(Connections, ThoseThatAreMutedHearNothingUntilTheyAreReset) {
  serve();
  auto [ours, theirs] = tcp_pair();
  const UniqueFd raw(::dup(theirs.get()));
  auto muted = try_log_in({.port = 2, .local = "10.0.0.10:3260"}, std::move(ours), std::move(theirs));
  ASSERT_TRUE(muted);
  quiet(*muted);
  auto other = log_in_quietly({.port = 3});
  disk().device.hold = true;
  muted->send(muted->command(scsi::read_cdb(0, 1), {.in = block}));
  disk().device.wait_for(1);
  const auto address = parse_ip_address("10.0.0.10");
  ASSERT_TRUE(address);
  run(sessions->mute_local(*address));
  muted->send(muted->nop());
  await_on(shard(0), [&] { disk().device.let_go(); });
  EXPECT_EQ(other.read_of(other.command(scsi::read_cdb(0, 1), {.in = block})).status, scsi::Status::good);
  EXPECT_TRUE(other.silent());
  char byte = 0;
  EXPECT_EQ(::recv(raw.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN) << "an answer, or the end";
  EXPECT_EQ(run(sessions->drop_local(*address)), 1U);
  EXPECT_EQ(::recv(raw.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNRESET);
  while (session_count() > 1) {
  }
}

TEST_F(Connections, AtAnAddressThatMovesAStandbyUnitIsNotToldButTheConnectionReset) {
  add_disk(0);
  view.groups.front().moving = true;
  view.groups.push_back({.tag = 2, .alua_group = 2, .relative_id = 2});
  serve();
  auto [ours, theirs] = tcp_pair();
  const UniqueFd raw(::dup(theirs.get()));
  auto initiator = try_log_in({.port = 2, .local = "10.0.0.10:3260"}, std::move(ours), std::move(theirs));
  ASSERT_TRUE(initiator);
  quiet(*initiator);
  std::promise<error_code> done;
  await_on(shard(0), [&] {
    disk().unit->set_access_state(1, scsi::AccessState::standby, [&](error_code error) { done.set_value(error); });
  });
  ASSERT_FALSE(done.get_future().get());
  // The unit attention that says so, as a message and as an answer; then a read.
  initiator->skip_async = true;
  EXPECT_EQ(session_count(), 1U);  // whatever was on its way from the unit has reached the session
  EXPECT_TRUE(initiator->silent());
  const auto told = initiator->read_of(initiator->command(scsi::read_cdb(0, 1), {.in = block}));
  EXPECT_EQ(told.status, scsi::Status::check_condition);
  initiator->send(initiator->command(scsi::read_cdb(0, 1), {.in = block}));
  pollfd waiting{.fd = raw.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&waiting, 1, 20000), 1);
  char byte = 0;
  EXPECT_EQ(::recv(raw.get(), &byte, 1, MSG_DONTWAIT), -1) << "an answer";
  EXPECT_EQ(errno, ECONNRESET);
}

TEST_F(Connections, OneLogsTheOtherOut) {
  serve();
  auto first = log_in_quietly();
  auto second = log_in({.tsih = first.tsih, .cid = 1});
  EXPECT_TRUE(second.silent());
  first.send(first.logout(iscsi::LogoutReason::close_connection, 1));
  EXPECT_EQ(first.expect<iscsi::LogoutResponse>().result, iscsi::LogoutResult::closed);
  EXPECT_TRUE(second.closed());
  EXPECT_TRUE(first.silent());
  EXPECT_EQ(status().connections.size(), 1U);
}

}  // namespace
}  // namespace mpath::target::test
